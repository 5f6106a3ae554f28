"""What all schedules have in common: the app, its time zone, and the current time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from taskq._state import get_current_app
from taskq.utils.time import maybe_make_aware, timezone

__all__ = ("BaseSchedule", "schedstate")


class schedstate(NamedTuple):  # noqa: N801 - the public name
    """Answer of `BaseSchedule.is_due`.

    - is_due: whether the task is to be sent now.
    - next: seconds until it is worth asking again.
    """

    is_due: bool
    next: float


class BaseSchedule:
    """Base of schedules.

    Parameters:
        nowfun: returns the current time; the app's `now` by default.
        app: the app, the current one by default.
        tz: time zone of the schedule, an object or its name; the app's by default.
    """

    _app: Any = None
    _tz: tzinfo | None = None

    def __init__(
        self,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
        tz: tzinfo | str | None = None,
    ) -> None:
        self.nowfun = nowfun
        self._app = app
        if tz is not None:
            self._tz = timezone.get_timezone(tz)

    def now(self) -> datetime:
        """Return the current time."""
        now: datetime = (self.nowfun or self.app.now)()
        return now

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the task is due, having last run at `last_run_at`.

        Negative if it is overdue.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say when it is due")

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return the time at which the task is due, having last run at `last_run_at`.

        Rounded up to a second, so that a run at that time counts as one of that time.
        """
        due = self.maybe_make_aware(self.now()) + self.remaining_estimate(last_run_at)
        return due.replace(microsecond=0) + timedelta(seconds=1)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the task is due, having last run at `last_run_at`, and when to ask again.

        Parameters:
            last_run_at: naive means UTC.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say when it is due")

    def maybe_make_aware(self, dt: datetime, naive_as_utc: bool = True) -> datetime:
        """Return `dt` with a zone: a naive one is converted to the zone of the schedule.

        Parameters:
            dt: a time.
            naive_as_utc: a naive `dt` is in UTC, else in the zone of the schedule.
        """
        return maybe_make_aware(dt, self.tz, naive_as_utc=naive_as_utc)

    @property
    def app(self) -> Any:
        """The app."""
        return self._app or get_current_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def tz(self) -> tzinfo:
        """Time zone of the schedule."""
        return self._tz or self.app.timezone

    @tz.setter
    def tz(self, tz: tzinfo | str | None) -> None:
        self._tz = None if tz is None else timezone.get_timezone(tz)

    @property
    def utc_enabled(self) -> bool:
        """Whether the app sends times in UTC."""
        return bool(self.app.conf.enable_utc)

    def to_local(self, dt: datetime) -> datetime:
        """Return a time of the machine's clock as the app means it."""
        return dt if self.utc_enabled else timezone.to_local_fallback(dt)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented

    # Schedules can be changed.
    __hash__ = None  # type: ignore[assignment]
