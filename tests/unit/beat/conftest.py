"""Apps with a queue of their own in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import TaskQ
from tests.unit.beat.beat_support import make_app


@pytest.fixture
def new_app(unique: str) -> Iterator[Callable[..., TaskQ]]:
    """Return a function that makes an app with the settings given."""
    apps: list[TaskQ] = []

    def make(**conf: Any) -> TaskQ:
        app = make_app(task_default_queue=unique, **conf)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()
