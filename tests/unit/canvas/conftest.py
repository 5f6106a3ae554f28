"""Apps and tasks for tests of workflows."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from taskq import TaskQ
from tests.unit.canvas.canvas_support import make_app, sent


@pytest.fixture
def app() -> Iterator[TaskQ]:
    app = make_app()
    sent(app)
    yield app
    sent(app, "celery", "other")
    app.close()


@pytest.fixture
def tasks(app: TaskQ) -> SimpleNamespace:
    """The tasks of the app by name."""
    return SimpleNamespace(**{name: app.tasks[name] for name in TASKS})


TASKS = ("add", "mul", "total", "echo", "fail", "err")
