"""Whether the body of a task runs in this process right now: only that may be interrupted.

Written by the tracer, read by pools whose processes run one task at a time.
"""

from __future__ import annotations

from typing import Any


class UserCode:
    """What of the user's own runs here."""

    running = False
    #: The `Interruptible` of the coroutine that runs, None while a plain function does.
    coroutine: Any = None


user_code = UserCode()
#: In pools of threads: id of a thread -> the `Interruptible` of the coroutine that it runs.
coroutines_of_threads: dict[int, Any] = {}


def in_user_code() -> bool:
    """Return whether a task's own code runs: only that may be interrupted by a time limit."""
    return user_code.running


def interrupt_coroutine(exc: BaseException) -> bool:
    """Raise ``exc`` at the next await of the coroutine that runs here; False when none does."""
    coroutine = user_code.coroutine
    if coroutine is None:
        return False
    coroutine.throw_soon(exc)
    return True


def cancel_coroutine() -> bool:
    """Cancel the coroutine that runs here; False when none does, or it is not waiting."""
    coroutine = user_code.coroutine
    if coroutine is None or coroutine.stepping:
        return False
    coroutine.cancel_soon()
    return True
