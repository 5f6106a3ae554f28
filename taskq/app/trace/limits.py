"""The time limits of coroutine tasks: whose count, and whether the event loop keeps them."""

from __future__ import annotations

from typing import Any


class CoroutineLimits:
    """Whether the loop keeps the time limits of coroutines: where the pool can't do it."""

    enforced = False
    #: The worker's defaults in seconds.
    soft: float | None = None
    hard: float | None = None


coroutine_limits = CoroutineLimits()


def limit_coroutines(soft: float | None, hard: float | None) -> None:
    """Have this process keep the time limits of coroutine tasks on their loops.

    - soft, hard: the worker's defaults in seconds, None or 0 for none.
    """
    coroutine_limits.enforced = True
    coroutine_limits.soft, coroutine_limits.hard = soft or None, hard or None


def limits_of(
    task: Any, soft: float | None = None, hard: float | None = None
) -> tuple[float | None, float | None]:
    """Return (soft, hard) limit in seconds: the call's, else the task's, else those given."""
    call_hard, call_soft = task.request.timelimit or (None, None)
    found = []
    for call, own, default in (
        (call_soft, task.soft_time_limit, soft),
        (call_hard, task.time_limit, hard),
    ):
        limit = own if call is None else call
        found.append((default if limit is None else limit) or None)
    return found[0], found[1]
