"""Schedules by the recurrence rules of calendars (RFC 5545), as dateutil computes them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from dateutil import rrule as dateutil_rrule

from taskq.schedules.base import BaseSchedule, schedstate
from taskq.schedules.occurrences import NEVER, instant_of, next_instant
from taskq.schedules.ruletext import DEFAULT_START, ClockRule, check_days, check_start, text_of
from taskq.utils.time import timezone

__all__ = ("rrule",)


class rrule(BaseSchedule):  # noqa: N801 - the public name
    """At the times of a recurrence rule, such as the last Friday of each month.

    The times are those of the clock of a zone, and each happens once, also when clocks change: as
    those of `crontab`. A rule with ``COUNT`` or ``UNTIL`` ends; then the task is not due again.

    Parameters:
        rule: the text of a rule, ``"FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17"``, with or without
            ``RRULE:`` and a line ``DTSTART:`` before it; a rule of `dateutil.rrule`; or one of its
            frequencies (`dateutil.rrule.WEEKLY`).
        dtstart: since when the rule holds, which fills in what it leaves open: the weekday, the
            time of day. Without a zone it is of the schedule's. Midnight of 1 January 2000 unless
            given, for rules that leave nothing open but the time of day.
        nowfun, app, tz: as of `BaseSchedule`.
        parts: the rest of a rule that is given as a frequency, named as in `dateutil.rrule`:
            ``byweekday``, ``byhour``, ``interval``, ``count``, ``until``…

    Raises ValueError for rules that make no sense, or need a `dtstart`.
    """

    def __init__(
        self,
        rule: str | int | dateutil_rrule.rrule,
        dtstart: datetime | None = None,
        *,
        nowfun: Callable[[], datetime] | None = None,
        app: Any = None,
        tz: tzinfo | str | None = None,
        **parts: Any,
    ) -> None:
        text, start, zone = text_of(rule, parts)
        #: The rule as text.
        self.rule: str = text
        #: Since when it holds.
        self.dtstart: datetime | None = dtstart or start
        super().__init__(nowfun=nowfun, app=app, tz=zone if tz is None else tz)
        #: Zone -> the rule on its clock.
        self._rules: dict[tzinfo, ClockRule] = {}
        check_start(text, self.dtstart)
        # Made here only to see that it can be.
        ClockRule(text, self._start_in(UTC), UTC)
        check_days(text)

    def _start_in(self, zone: tzinfo) -> datetime:
        start = self.dtstart or DEFAULT_START
        return start if start.tzinfo is None else start.astimezone(zone).replace(tzinfo=None)

    def _following(self, on_clock: datetime) -> datetime:
        """Return the next time on the clock, naive, that is later than a naive time."""
        zone = self.tz
        rule = self._rules.get(zone)
        if rule is None:
            rule = self._rules[zone] = ClockRule(self.rule, self._start_in(zone), zone)
        found = rule.after(on_clock)
        return NEVER if found is None else found

    # -- when it is due -----------------------------------------------------------------

    def remaining_estimate(self, last_run_at: datetime) -> timedelta | None:  # type: ignore[override]
        """Return how long it is until the next run; negative if it is overdue, None if it is over.

        Parameters:
            last_run_at: time of the last run; naive means UTC.
        """
        due = self.due_after(last_run_at)
        return None if _is_never(due) else due - self._now()

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return the time at which the task is due, having last run at `last_run_at`.

        The last time that there is, in the year 9999, if the rule is over.
        """
        last = self.maybe_make_aware(last_run_at)
        zone = self.tz
        return instant_of(next_instant(self._following, last, zone), zone)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether the task is due, and in how many seconds to ask again; None for never."""
        now = self._now()
        due = self.due_after(last_run_at)
        is_due = due <= now
        following = self.due_after(now) if is_due else due
        seconds: Any = None if _is_never(following) else (following - now).total_seconds()
        return schedstate(is_due=is_due, next=seconds)

    def _now(self) -> datetime:
        return self.maybe_make_aware(self.now()).astimezone(UTC)

    # -- as an object -------------------------------------------------------------------

    def __repr__(self) -> str:
        since = f" since {self.dtstart.isoformat(' ')}" if self.dtstart else ""
        return f"<rrule: {self.rule}{since}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, rrule):
            return (
                other.rule == self.rule
                and other.dtstart == self.dtstart
                and other._tz == self._tz
                and super().__eq__(other)
            )
        return NotImplemented

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        zone = None if self._tz is None else str(self._tz)
        return _remade, (type(self), self.rule, self.dtstart, self.nowfun, zone)


def _remade(
    cls: type[rrule], rule: str, dtstart: datetime | None, nowfun: Any, zone: str | None
) -> rrule:
    tz = None if zone is None else timezone.get_timezone(zone)
    return cls(rule, dtstart, nowfun=nowfun, tz=tz)


def _is_never(moment: datetime) -> bool:
    return moment.replace(tzinfo=None) == NEVER
