"""Task: what ``@app.task`` makes of a function.

Defines both ends of a call: `delay` and `apply_async` send it, the tracer runs it. Each of the
modules of this package is one side of the class.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from taskq.app.context import Context
from taskq.app.task.calling import TaskCalls
from taskq.app.task.former import FormerMethods
from taskq.app.task.handlers import Handlers
from taskq.app.task.replacing import ReplaceableTask
from taskq.app.task.retrying import RetryingTask

__all__ = ("Context", "CoroutineTask", "Task")

P = ParamSpec("P")
R = TypeVar("R")


class Task(
    TaskCalls[P, R], RetryingTask[P, R], ReplaceableTask, FormerMethods, Handlers, Generic[P, R]
):
    """Base class of all tasks.

    One instance per process lives in the app's registry; each call runs `run`. Attributes set to
    None take their value from the setting named in `from_config` when the task is bound.
    """


class CoroutineTask(Task[P, R], Generic[P, R]):
    """What a type checker sees in a task made of a coroutine function: its call is awaited.

    For annotations; at run time such a task is a `Task` like any other.
    """

    abstract = True

    if TYPE_CHECKING:

        def __call__(  # type: ignore[override]
            self, *args: P.args, **kwargs: P.kwargs
        ) -> Coroutine[Any, Any, R]: ...
