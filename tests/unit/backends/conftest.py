from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.backends import cache


@pytest.fixture
def app() -> Iterator[TaskQ]:
    """An app with results in memory, forgotten after the test."""
    app = TaskQ("backends", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    cache._memory.clear()
    app.close()


@pytest.fixture
def backend(app: TaskQ) -> Any:
    return app.backend
