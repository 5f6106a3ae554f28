"""Schedules that come round after a fixed time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

from taskq.schedules.base import BaseSchedule, schedstate
from taskq.utils.time import (
    add_seconds_to_datetime,
    delta_resolution,
    humanize_seconds,
    maybe_timedelta,
    subtract_datetimes,
)

__all__ = ("maybe_schedule", "schedule")

SECOND = timedelta(seconds=1)


class schedule(BaseSchedule):  # noqa: N801 - the public name
    """Every so many seconds.

    Parameters:
        run_every: the time between two runs: seconds or a timedelta.
        relative: round the time it is due down to the unit of `run_every`: every hour at the full
            hour, every day at midnight.
        nowfun: returns the current time.
        app: the app.
        tz: time zone that `relative` means.
    """

    relative: bool = False

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
        tz: tzinfo | str | None = None,
    ) -> None:
        self.run_every: timedelta = maybe_timedelta(run_every)
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app, tz=tz)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the next run; negative if it is overdue."""
        last = self.maybe_make_aware(last_run_at)
        due = add_seconds_to_datetime(last, self.run_every.total_seconds())
        if self.relative:
            due = delta_resolution(due, self.run_every)
            if self.run_every >= SECOND:
                due = due.replace(microsecond=0)
        return subtract_datetimes(due, self.maybe_make_aware(self.now()))

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return the time at which the task is due, having last run at `last_run_at`."""
        last = self.maybe_make_aware(last_run_at)
        if self.relative:
            return super().due_after(last)
        return add_seconds_to_datetime(last, self.run_every.total_seconds())

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the task is due, and in how many seconds to ask again."""
        last_run_at = self.maybe_make_aware(last_run_at)
        seconds = self.remaining_estimate(last_run_at).total_seconds()
        if seconds > 0:
            return schedstate(is_due=False, next=seconds)
        if self.relative:
            following = self.remaining_estimate(self.maybe_make_aware(self.now()))
            return schedstate(is_due=True, next=max(following.total_seconds(), 0))
        return schedstate(is_due=True, next=self.seconds)

    @property
    def seconds(self) -> float:
        """Seconds between two runs."""
        return max(self.run_every.total_seconds(), 0)

    @property
    def human_seconds(self) -> str:
        """The time between two runs, for people."""
        return humanize_seconds(self.seconds)

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return self.run_every == other.run_every
        return bool(self.run_every == other)

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run_every, self.relative, self.nowfun), self._state()

    def _state(self) -> dict[str, Any]:
        return {} if self._tz is None else {"_tz": self._tz}


def maybe_schedule(s: Any, relative: bool = False, app: Any = None) -> Any:
    """Return a schedule of what may be seconds, a timedelta, or a schedule already.

    Parameters:
        s: seconds, timedelta or schedule.
        relative: of `schedule`, if one is made.
        app: the app of the schedule.
    """
    if s is None:
        return None
    if isinstance(s, (int, float)):
        s = timedelta(seconds=s)
    if isinstance(s, timedelta):
        return schedule(s, relative, app=app)
    s.app = app
    return s
