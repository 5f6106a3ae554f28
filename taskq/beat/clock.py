"""Notices when somebody sets the clock.

Asked by the scheduler at every tick: intervals are time that passes, crontabs follow the clock.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from taskq.schedules import schedule
from taskq.utils.time import maybe_make_aware

__all__ = ("StepDetector", "believable", "is_interval", "shift")

#: Seconds by which the clock may differ from the time that passed without being called set.
TOLERANCE = 2.0
#: So far in the future the last run of a crontab may be after the clock was set back.
BELIEVED_AHEAD = timedelta(hours=1)


def _elapsed() -> float:
    """Return a time that nobody can set; it goes on while the machine sleeps, where it can."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class StepDetector:
    """Compares the clock with the time that passed."""

    def __init__(self) -> None:
        self._offset = time.time() - _elapsed()

    def step(self) -> float:
        """Return by how many seconds the clock was set since this was asked last; 0 if it wasn't.

        Negative if it was set back. Slow corrections are followed, and are no step.
        """
        offset = time.time() - _elapsed()
        step, self._offset = offset - self._offset, offset
        return step if abs(step) > TOLERANCE else 0.0


def shift(entry: Any, step: float) -> None:
    """Correct an entry after the clock was set by `step` seconds.

    An interval is time that passes: its last run is moved along. Anything else goes by the clock;
    see `believable`.
    """
    if is_interval(entry):
        entry.last_run_at += timedelta(seconds=step)
    else:
        believable(entry)


def believable(entry: Any) -> None:
    """Correct the last run of an entry that is later than now, as the clock has been set back.

    An interval begins anew. Times of a crontab that were sent already are not sent again, if that
    is no more than `BELIEVED_AHEAD` long.
    """
    if entry.last_run_at is None:
        return
    now = maybe_make_aware(entry.default_now())
    last = maybe_make_aware(entry.last_run_at)
    allowed = timedelta(0) if is_interval(entry) else BELIEVED_AHEAD
    if last > now + allowed:
        entry.last_run_at = now


def is_interval(entry: Any) -> bool:
    """Return whether an entry's schedule is a plain interval: time that passes."""
    return type(entry.schedule) is schedule and not entry.schedule.relative
