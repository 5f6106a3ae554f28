"""Calling a coroutine task as if it were a plain function, in pools that run one task per thread.

The tracer of such a pool calls a `CoroutineBody` where it would call ``task.run``.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any

from taskq.app.trace.limits import coroutine_limits, limits_of
from taskq.app.trace.usercode import coroutines_of_threads, user_code
from taskq.exceptions import TaskCancelledError, TimeLimitExceeded
from taskq.utils.coroutines import is_coroutine, run_coroutine
from taskq.utils.interruptible import HardLimitHit, Interruptible, run_limited


class CoroutineBody:
    """Runs a coroutine task to its end on the loop of the calling thread.

    - task: the task.
    - fun: what makes the coroutine.
    """

    __slots__ = ("_fun", "_task")

    def __init__(self, task: Any, fun: Callable[..., Any]) -> None:
        self._task = task
        self._fun = fun

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the coroutine returns.

        Raises TaskCancelledError when it cancelled itself, TimeLimitExceeded.
        """
        made = self._fun(*args, **kwargs)
        if not is_coroutine(made):
            # A __call__ of the task's own may have awaited it, or decided against it.
            return made
        try:
            if coroutine_limits.enforced:
                soft, hard = limits_of(self._task, coroutine_limits.soft, coroutine_limits.hard)
                if soft or hard:
                    made = run_limited(made, soft, hard)
                return _run_in_thread(made)
            return _run_interruptible(made)
        except CancelledError as exc:
            raise TaskCancelledError(self._task.name) from exc
        except HardLimitHit as exc:
            raise TimeLimitExceeded(*exc.args) from None


def _run_interruptible(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that this process's signal handlers may interrupt.

    Raises SystemExit when it was cancelled that way, as in a function that is terminated, whatever
    it returned or raised then.
    """
    body = user_code.coroutine = Interruptible(coroutine)
    try:
        return _run_unless_killed(body)
    finally:
        user_code.coroutine = None


def _run_in_thread(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Do the same where other threads of the process may interrupt it."""
    body = coroutines_of_threads[get_ident()] = Interruptible(coroutine)
    try:
        return _run_unless_killed(body)
    finally:
        del coroutines_of_threads[get_ident()]


def _run_unless_killed(body: Interruptible) -> Any:
    try:
        value = run_coroutine(body.run())
    except BaseException as exc:
        if body.is_killed:
            raise SystemExit from exc
        raise
    if body.is_killed:
        raise SystemExit
    return value
