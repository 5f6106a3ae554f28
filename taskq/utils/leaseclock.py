"""Whether this worker's messages are still its own, as its pool can see it.

The thread that renews the worker's lease on the broker writes here, in memory that forked pool
processes share; who is about to store a result of a task with late acknowledgement reads. So a
worker that was stopped for longer than its lease does not finish what was given to others.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import Any

from taskq.exceptions import Ignore
from taskq.utils.log import get_logger

__all__ = ("GivenAway", "LeaseClock", "current", "guarded", "share")

logger = get_logger("celery.worker.lease")

#: Slots: how often the lease was lost, and until when it is good (monotonic clock, nanoseconds).
_LOSSES, _GOOD_UNTIL = 0, 1
#: Seconds between two looks at a lease that has run out and may be renewed.
_PAUSE = 0.02
#: Seconds to wait for that, if the broker is away: nobody can get messages from it meanwhile.
PATIENCE = 60.0

W_GIVEN_AWAY = (
    "%s: this worker was silent for longer than its lease, and the message was given to another. "
    "The result of this execution is refused."
)
W_UNSURE = (
    "%s: the lease could not be renewed for %d s, so it is not known whether the message was given "
    "to another worker. Its result is stored."
)


class GivenAway(Ignore):
    """The message of a finished task is not this worker's any more."""


class LeaseClock:
    """The state of one worker's lease in shared memory. Never renewed: it does not run out."""

    def __init__(self) -> None:
        self._slots = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("Q")

    def renewed(self, seconds: float, *, since: float | None = None) -> None:
        """The broker has confirmed the lease.

        - seconds: how long it is good; since: monotonic time when it was asked for, now if None.
        """
        start = time.monotonic() if since is None else since
        self._slots[_GOOD_UNTIL] = max(1, int((start + seconds) * 1e9))

    def lost(self) -> None:
        """What was held has been given to others."""
        self._slots[_LOSSES] += 1

    def token(self) -> int:
        """Return what `holds` compares: what is begun now belongs to it."""
        return self._slots[_LOSSES]

    def holds(self, token: int, what: str) -> bool:
        """Tell whether what was begun under a token is still ours; wait until that is known.

        - what: for the log.
        """
        slots = self._slots
        deadline = time.monotonic() + PATIENCE
        while slots[_LOSSES] == token:
            good_until = slots[_GOOD_UNTIL]
            now = time.monotonic()
            if not good_until or now * 1e9 <= good_until:
                return True
            if now > deadline:
                logger.warning(W_UNSURE, what, PATIENCE)
                return True
            time.sleep(_PAUSE)
        return False


_current: LeaseClock | None = None


def share() -> LeaseClock:
    """Make the clock of this worker, before its pool processes are forked."""
    global _current
    _current = LeaseClock()
    return _current


def current() -> LeaseClock | None:
    """Return the clock of the worker that this process belongs to, None if it has none."""
    return _current


def guarded(run: Callable[..., Any], name: str, clock: LeaseClock) -> Callable[..., Any]:
    """Return a task's function that raises GivenAway if its message went to others meanwhile."""

    def run_if_ours(*args: Any, **kwargs: Any) -> Any:
        token = clock.token()
        try:
            value = run(*args, **kwargs)
        except Exception:
            if not clock.holds(token, name):
                _refuse(name)
            raise
        if not clock.holds(token, name):
            _refuse(name)
        return value

    return run_if_ours


def _refuse(name: str) -> None:
    logger.warning(W_GIVEN_AWAY, name)
    raise GivenAway(name) from None
