"""A task's states, stored as it passes through them, and what a failure sets off.

The tracer calls `mark_as_*`; `taskq.backends.base.Backend` inherits them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from taskq import states
from taskq.backends.core import BackendCore
from taskq.backends.errbacks import call_errbacks
from taskq.backends.unreached import ends_of, request_of
from taskq.exceptions import TaskRevokedError

__all__ = ("TaskMarking",)

logger = logging.getLogger(__name__)


class TaskMarking(BackendCore):
    """Stores a state, then tells the chord, the rest of the chain and the errbacks about it."""

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Store that a task was started, with `meta` (pid, hostname) as its result."""
        return self.store_result(task_id, meta, states.STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = states.SUCCESS,
    ) -> None:
        """Store the return value of a task and count it in its chord.

        Parameters:
            task_id: the task.
            result: what it returned.
            request: its request.
            store_result: False for a task whose result is ignored.
            state: its state.
        """
        if store_result:
            self.store_result(task_id, result, state, request=request)
        self._count_in_chord(request, state, result)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Store that a task failed; fail the rest of its chain, count it, call its errbacks.

        Parameters:
            task_id: the task.
            exc: what it raised.
            traceback: text.
            request: its request.
            store_result: False for a task whose result is ignored.
            call_errbacks: call the errbacks of the task.
            state: its state.
        """
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)
        if request is None:
            return
        self._count_in_chord(request, state, exc)
        chain = getattr(request, "chain", None)
        if chain:
            self._fail_chain(chain, exc, traceback, store_result=store_result, state=state)
        if call_errbacks and getattr(request, "errbacks", None):
            self._call_task_errbacks(request, exc, traceback)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = states.REVOKED,
    ) -> None:
        """Store that a task was revoked; count it in its chord and fail the rest of its chain.

        Parameters are those of `mark_as_failure`; `reason` is kept in the TaskRevokedError.
        """
        exc = TaskRevokedError(reason)
        if store_result:
            self.store_result(task_id, exc, state, traceback=None, request=request)
        self._count_in_chord(request, state, exc)
        chain = getattr(request, "chain", None)
        if chain:
            self._fail_chain(chain, exc, store_result=store_result, state=state)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = states.RETRY,
    ) -> None:
        """Store that a task is to be retried, and why."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def _count_in_chord(self, request: Any, state: str, result: Any) -> None:
        if request is not None and getattr(request, "chord", None):
            self.on_chord_part_return(request, state, result)

    def _call_task_errbacks(
        self, request: Any, exc: BaseException, traceback: Any, once: int | None = None
    ) -> None:
        call_errbacks(self.app, request, exc, traceback, once=once)

    def _fail_chain(
        self,
        chain: Iterable[Any],
        exc: BaseException,
        traceback: Any = None,
        store_result: bool = True,
        state: str = states.FAILURE,
    ) -> None:
        """Give the steps of a chain that will never run the state of the one that ended it.

        Waiting for the last step then ends, and a chord that the chain is part of is counted.
        """
        for step in chain:
            for end, _ in ends_of(step):
                request = request_of(end)
                if store_result and request.id:
                    self.store_result(request.id, exc, state, traceback=traceback, request=request)
                self._count_in_chord(request, state, exc)
