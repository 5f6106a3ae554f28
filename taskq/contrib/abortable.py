"""Tasks that can be asked to stop, and that look themselves whether they were.

The request travels through the result backend, so the backend must be one that stores states for
others to read (a database, a cache, Redis, SQLite; not RPC).
"""

from __future__ import annotations

from typing import Any

from taskq.app.task import Task
from taskq.result import AsyncResult

__all__ = ("AbortableAsyncResult", "AbortableTask")

#: State of a task that was asked to stop. What the task returns then is stored over it.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult[Any]):
    """A handle on the result of a task that can be aborted."""

    def is_aborted(self) -> bool:
        """Return whether the task was asked to stop."""
        return bool(self.state == ABORTED)

    def abort(self) -> Any:
        """Ask the task to stop, by storing the state ``ABORTED``.

        The task stops when it next calls `AbortableTask.is_aborted` and returns; one that never
        looks runs to its end.
        """
        return self.backend.store_result(self.id, result=None, state=ABORTED, traceback=None)


class AbortableTask(Task[..., Any]):
    """Base of tasks that can be aborted; give it as ``base=`` with ``bind=True``.

    It looks every now and then whether it should go on::

        @app.task(bind=True, base=AbortableTask)
        def export(self, rows):
            for row in rows:
                if self.is_aborted():
                    return "stopped"
                write(row)
    """

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult:  # noqa: N802 - the public name
        """Return the handle on the result of ``task_id``, one that can abort it."""
        return AbortableAsyncResult(task_id, backend=self.backend, app=self._get_app(), **kwargs)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Return whether this task was asked to stop.

        - task_id: of another task of the same kind; the running one if not given.

        False where the backend's handles know nothing of aborting.
        """
        task_id: Any = kwargs.get("task_id", self.request.id)
        result: Any = self.AsyncResult(task_id)
        return isinstance(result, AbortableAsyncResult) and result.is_aborted()
