"""Whether this worker's messages are still its own, as its pool can see it.

The thread that renews the worker's lease on the broker writes here, in a page of memory that the
pool's processes share; who is about to store a result of a task with late acknowledgement reads. So
a worker that was stopped for longer than its lease does not finish what was given to others.
"""

from __future__ import annotations

import mmap
import os
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

from taskq.exceptions import Ignore
from taskq.utils.log import get_logger
from taskq.utils.sharedfile import shared_file

__all__ = (
    "PATIENCE",
    "PAUSE",
    "GivenAway",
    "LeaseClock",
    "adopt",
    "current",
    "guarded",
    "refuse",
    "share",
)

logger = get_logger("celery.worker.lease")

#: Slots: how often the lease was lost, until when it is good (monotonic clock, nanoseconds), and
#: the process that renews it.
_LOSSES, _GOOD_UNTIL, _KEEPER = 0, 1, 2
#: Seconds between two looks at a lease that has run out and may be renewed.
PAUSE = 0.02
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
    """The state of one worker's lease in shared memory. Never renewed: it does not run out.

    - fd: the file that holds it, closed with this object.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        weakref.finalize(self, os.close, fd).atexit = False
        self._slots = memoryview(mmap.mmap(fd, mmap.PAGESIZE)).cast("Q")

    def kept_here(self) -> None:
        """This process renews the lease; without it nobody does."""
        self._slots[_KEEPER] = os.getpid()

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
        deadline = time.monotonic() + PATIENCE
        while (known := self.is_held(token, what, deadline)) is None:
            time.sleep(PAUSE)
        return known

    def is_held(self, token: int, what: str, deadline: float) -> bool | None:
        """Return whether what was begun under a token is still ours, None while that isn't known.

        - what: for the log; deadline: monotonic time after which it counts as ours.
        """
        slots = self._slots
        if slots[_LOSSES] != token:
            return False
        good_until, now = slots[_GOOD_UNTIL], time.monotonic()
        if not good_until or now * 1e9 <= good_until:
            return True
        if slots[_KEEPER] not in (os.getpid(), os.getppid()):
            return False  # the main process is dead, and nobody will renew it
        if now > deadline:
            logger.warning(W_UNSURE, what, PATIENCE)
            return True
        return None


_current: LeaseClock | None = None


def share() -> LeaseClock:
    """Make the clock of this worker, before its pool processes are forked."""
    clock = adopt(shared_file(mmap.PAGESIZE, "taskq-lease"))
    clock.kept_here()
    return clock


def adopt(fd: int) -> LeaseClock:
    """Use the clock in a file, that of the worker which has started this process."""
    global _current
    _current = LeaseClock(fd)
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
                refuse(name)
            raise
        if not clock.holds(token, name):
            refuse(name)
        return value

    return run_if_ours


def refuse(name: str) -> NoReturn:
    """Raise GivenAway for an execution of the task of this name."""
    logger.warning(W_GIVEN_AWAY, name)
    raise GivenAway(name) from None
