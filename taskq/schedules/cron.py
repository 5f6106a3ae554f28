"""Schedules as cron has them: minutes, hours, days and months on the clock of a zone."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from taskq.schedules.base import BaseSchedule, schedstate
from taskq.schedules.cronfields import Cronspec, cronfield, expand
from taskq.schedules.occurrences import CronFields, instant_of, next_instant, next_on_clock
from taskq.utils.time import ffwd as _ffwd
from taskq.utils.time import timezone

__all__ = ("crontab",)

#: A leap year, in which every day of the calendar comes up.
LEAP_YEAR = 2000

MICROSECOND = timedelta(microseconds=1)


class crontab(BaseSchedule):  # noqa: N801 - the public name
    """At the minutes, hours and days at which all fields match.

    A field is a number, a string (``"*/15"``, ``"mon-fri"``, ``"1,5,7-9"``) or an iterable of
    numbers. The next time is computed, whatever the fields. Each time on the clock happens once,
    also when clocks change; see `taskq.schedules.occurrences`.

    Parameters:
        minute: 0-59.
        hour: 0-23.
        day_of_week: 0-6 from Sunday, or names.
        day_of_month: 1-31.
        month_of_year: 1-12, or names.
        kwargs: ``nowfun``, ``app`` and ``tz`` as of `BaseSchedule`.

    Raises ValueError or `ParseException` for fields that make no sense, or can never match.
    """

    def __init__(
        self,
        minute: Cronspec = "*",
        hour: Cronspec = "*",
        day_of_week: Cronspec = "*",
        day_of_month: Cronspec = "*",
        month_of_year: Cronspec = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute = cronfield(minute)
        self._orig_hour = cronfield(hour)
        self._orig_day_of_week = cronfield(day_of_week)
        self._orig_day_of_month = cronfield(day_of_month)
        self._orig_month_of_year = cronfield(month_of_year)
        self._orig_kwargs = kwargs
        self.hour = self._expand_cronspec(hour, 24)
        self.minute = self._expand_cronspec(minute, 60)
        self.day_of_week = self._expand_cronspec(day_of_week, 7)
        self.day_of_month = self._expand_cronspec(day_of_month, 31, 1)
        self.month_of_year = self._expand_cronspec(month_of_year, 12, 1)
        self._refuse_days_that_never_come()
        super().__init__(**kwargs)

    def _refuse_days_that_never_come(self) -> None:
        longest = max(monthrange(LEAP_YEAR, month)[1] for month in self.month_of_year)
        if min(self.day_of_month) > longest:
            raise ValueError(
                f"Invalid crontab: day_of_month {self._orig_day_of_month!r} never occurs in "
                f"month_of_year {self._orig_month_of_year!r}."
            )

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """Return the schedule of a line of a crontab file: minute, hour, day of month, month, day
        of week.

        Raises ValueError if these are not five.
        """
        minute, hour, day_of_month, month_of_year, day_of_week = crontab.split(" ")
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    @staticmethod
    def _expand_cronspec(cronspec: Cronspec, max_: int, min_: int = 0) -> set[int]:
        """Return the numbers that a field means; see `cronfields.expand`."""
        return expand(cronspec, max_, min_)

    def _following(self, on_clock: datetime) -> datetime:
        """Return the next time on the clock, naive, that is later than a naive time."""
        fields: CronFields | None = self.__dict__.get("_sorted_fields")
        if fields is None:
            fields = self._sorted_fields = CronFields.of(
                self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year
            )
        return next_on_clock(fields, on_clock)

    # -- when it is due -----------------------------------------------------------------

    def remaining_delta(
        self,
        last_run_at: datetime,
        tz: tzinfo | str | None = None,
        ffwd: Any = _ffwd,
    ) -> tuple[datetime, Any, datetime]:
        """Return the time of the last run, what leads from it to the next one, and the time now.

        Parameters:
            last_run_at: time of the last run; naive means UTC.
            tz: zone of the clock, that of the schedule by default.
            ffwd: class of the second of these, called with the fields of the next time.
        """
        zone = self._zone(tz)
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        now = self.maybe_make_aware(self.now()).astimezone(zone)
        due = next_instant(self._following, last, zone)
        delta = ffwd(
            year=due.year,
            month=due.month,
            day=due.day,
            hour=due.hour,
            minute=due.minute,
            second=0,
            microsecond=0,
        )
        return last, delta, now

    def remaining_estimate(self, last_run_at: datetime, ffwd: Any = _ffwd) -> timedelta:
        """Return how long it is until the next run; negative if it is overdue.

        Parameters:
            last_run_at: time of the last run; naive means UTC.
            ffwd: not used.
        """
        if type(self).remaining_delta is not crontab.remaining_delta:
            last, delta, now = self.remaining_delta(last_run_at)
            left: timedelta = last + delta - now
            return left
        return self._next_after(self.maybe_make_aware(last_run_at)) - self._now()

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return the time at which the task is due, having last run at `last_run_at`.

        One that is older than ``beat_cron_starting_deadline`` allows is passed over.
        """
        last = self.maybe_make_aware(last_run_at)
        deadline = self.app.conf.beat_cron_starting_deadline
        if deadline is not None:
            last = max(last, self._now() - timedelta(seconds=deadline) - MICROSECOND)
        if self._is_overridden:
            return self._now() + self.remaining_estimate(last)
        return self._next_after(last)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the task is due, and in how many seconds to ask again.

        With the setting ``beat_cron_starting_deadline`` (seconds) a task is not due any more if it
        had to run longer ago than that.
        """
        last = self.maybe_make_aware(last_run_at)
        now = self._now()
        deadline = self.app.conf.beat_cron_starting_deadline
        if self._is_overridden:
            late = -self.remaining_estimate(last).total_seconds()
            if late < 0:
                return schedstate(is_due=False, next=-late)
            following = self.remaining_estimate(now).total_seconds()
            return schedstate(is_due=deadline is None or late <= deadline, next=max(following, 0))
        due = self._next_after(last)
        if due > now:
            return schedstate(is_due=False, next=(due - now).total_seconds())
        in_time = True
        if deadline is not None:
            earliest = now - timedelta(seconds=deadline) - MICROSECOND
            in_time = self._next_after(max(earliest, last)) <= now
        return schedstate(is_due=in_time, next=(self._next_after(now) - now).total_seconds())

    def _now(self) -> datetime:
        return self.maybe_make_aware(self.now()).astimezone(UTC)

    @property
    def _is_overridden(self) -> bool:
        """Whether a subclass has an idea of its own of when it is due."""
        cls = type(self)
        return (
            cls.remaining_estimate is not crontab.remaining_estimate
            or cls.remaining_delta is not crontab.remaining_delta
        )

    def _next_after(self, last: datetime) -> datetime:
        zone = self.tz
        return instant_of(next_instant(self._following, last, zone), zone)

    def _zone(self, tz: tzinfo | str | None) -> tzinfo:
        return self.tz if tz is None else timezone.tz_or_local(tz)

    # -- as an object -------------------------------------------------------------------

    def __repr__(self) -> str:
        return (
            f"<crontab: {self._orig_minute} {self._orig_hour} {self._orig_day_of_month} "
            f"{self._orig_month_of_year} {self._orig_day_of_week} (m/h/dM/MY/d)>"
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            return (
                other.month_of_year == self.month_of_year
                and other.day_of_month == self.day_of_month
                and other.day_of_week == self.day_of_week
                and other.hour == self.hour
                and other.minute == self.minute
                and super().__eq__(other)
            )
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        return type(self), fields, self._orig_kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._orig_kwargs = dict(state)
        super().__init__(**state)
