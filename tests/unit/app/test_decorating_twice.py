"""A task decorator on what is a task already is refused, and says which one is too many."""

from __future__ import annotations

import pytest

from taskq import TaskQ, shared_task


def function(x):
    return x


@pytest.fixture
def app():
    return TaskQ("twice", set_as_current=False)


def decorators(app):
    return {"@shared_task": shared_task, "@task": app.task}


@pytest.mark.parametrize("inner", ["@shared_task", "@task"])
@pytest.mark.parametrize("outer", ["@shared_task", "@task"])
@pytest.mark.parametrize("options", [{}, {"name": "named"}])
def test_twice(app, inner, outer, options):
    app.set_current()
    task = decorators(app)[inner](function)
    again = decorators(app)[outer]
    with pytest.raises(TypeError, match=f"{outer} was applied more than once to the same function"):
        again(**options)(task) if options else again(task)
