"""When the fields of a crontab, or another rule, come round next: on the clock, and in real time.

A time on the clock happens once. One that clocks skip when they are set forward happens as much
later as they are set forward by; one that they show twice happens the first time.
"""

from __future__ import annotations

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeAlias

__all__ = ("NEVER", "CronFields", "OnClock", "instant_of", "next_instant", "next_on_clock")

#: Returns the next time on the clock, naive, that is later than a naive time; `NEVER` if none is.
OnClock: TypeAlias = Callable[[datetime], datetime]

#: Stands for a time that does not come.
NEVER = datetime.max

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)

#: The calendar repeats itself after so many years, so any date that exists comes up within them.
CALENDAR_CYCLE = 400


@dataclass(frozen=True, slots=True)
class CronFields:
    """The numbers of each field in order; days of the week count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days_of_week: frozenset[int]
    days_of_month: tuple[int, ...]
    months: tuple[int, ...]

    @classmethod
    def of(
        cls,
        minutes: Iterable[int],
        hours: Iterable[int],
        days_of_week: Iterable[int],
        days_of_month: Iterable[int],
        months: Iterable[int],
    ) -> CronFields:
        """Return the fields with these numbers."""
        return cls(
            tuple(sorted(minutes)),
            tuple(sorted(hours)),
            frozenset(days_of_week),
            tuple(sorted(days_of_month)),
            tuple(sorted(months)),
        )


def next_on_clock(fields: CronFields, after: datetime) -> datetime:
    """Return the next time on the clock, naive, that is later than `after`, naive too.

    Raises ValueError if there is none.
    """
    start = after.replace(second=0, microsecond=0, tzinfo=None, fold=0) + MINUTE
    if _is_day(fields, start):
        time = _time_from(fields, start.hour, start.minute)
        if time is not None:
            return start.replace(hour=time[0], minute=time[1])
    year, month, day = _next_day(fields, start.year, start.month, start.day + 1)
    return datetime(year, month, day, fields.hours[0], fields.minutes[0])


def _is_day(fields: CronFields, date: datetime) -> bool:
    return (
        date.month in fields.months
        and date.day in fields.days_of_month
        and date.isoweekday() % 7 in fields.days_of_week
    )


def _time_from(fields: CronFields, hour: int, minute: int) -> tuple[int, int] | None:
    """Return the first time of a day that is not earlier than this one."""
    hours, minutes = fields.hours, fields.minutes
    at_hour = bisect_left(hours, hour)
    if at_hour == len(hours):
        return None
    if hours[at_hour] == hour:
        at_minute = bisect_left(minutes, minute)
        if at_minute < len(minutes):
            return hour, minutes[at_minute]
        at_hour += 1
        if at_hour == len(hours):
            return None
    return hours[at_hour], minutes[0]


def _next_day(fields: CronFields, year: int, month: int, day: int) -> tuple[int, int, int]:
    """Return the first day that is not earlier than this one, which may be past a month's end."""
    for _ in range(CALENDAR_CYCLE * 12):
        if month in fields.months:
            found = _day_of_month(fields, year, month, day)
            if found is not None:
                return year, month, found
        day = 1
        month += 1
        if month > 12:
            year, month = year + 1, 1
    raise ValueError(f"No day matches {fields}")


def _day_of_month(fields: CronFields, year: int, month: int, first: int) -> int | None:
    starts_on, length = monthrange(year, month)
    # `monthrange` counts days of the week from Monday.
    offset = starts_on + 1
    days = fields.days_of_month
    for day in days[bisect_left(days, first) :]:
        if day > length:
            return None
        if (offset + day - 1) % 7 in fields.days_of_week:
            return day
    return None


def next_instant(following: OnClock, last: datetime, tz: tzinfo) -> datetime:
    """Return the time in `tz`, naive, of the next occurrence in real time after `last`.

    Clocks may show another time when it happens: see `instant_of`.

    Parameters:
        following: the times on the clock.
        last: a time with a zone.
        tz: zone of the clock.
    """
    last = last.astimezone(UTC)
    local = last.astimezone(tz)
    on_clock = local.replace(tzinfo=None, fold=0)
    found = following(on_clock)
    instant = instant_of(found, tz)
    if instant <= last:
        # Clocks were set back since that time, and show it again: it happened the first time.
        first_offset = found - instant.replace(tzinfo=None)
        found = following(last.replace(tzinfo=None) + first_offset)
        instant = instant_of(found, tz)
    skipped = _offset(last, tz) - _offset(last - DAY, tz)
    if skipped > timedelta(0):
        # Times that clocks skipped lately may be still to come, and earlier than `found`.
        found, instant = _earlier(
            following, on_clock - skipped - MINUTE, on_clock, last, (found, instant), tz
        )
    if found == NEVER:
        return found
    shown = instant.astimezone(tz).replace(tzinfo=None, fold=0)
    if shown > found:
        # `found` is skipped, and happens later than a time that comes after it on the clock.
        found, instant = _earlier(following, found, shown, last, (found, instant), tz)
    return found


def _earlier(
    following: OnClock,
    begin: datetime,
    end: datetime,
    last: datetime,
    best: tuple[datetime, datetime],
    tz: tzinfo,
) -> tuple[datetime, datetime]:
    """Return the occurrence between two times on the clock that happens first after `last`.

    `best` if there is none that happens before it.
    """
    on_clock = following(begin)
    while on_clock <= end:
        instant = instant_of(on_clock, tz)
        if last < instant < best[1]:
            best = on_clock, instant
        on_clock = following(on_clock)
    return best


def instant_of(on_clock: datetime, tz: tzinfo) -> datetime:
    """Return when a time on the clock of a zone happens, in UTC."""
    if on_clock == NEVER:
        return on_clock.replace(tzinfo=UTC)
    return on_clock.replace(tzinfo=tz, fold=0).astimezone(UTC)


def _offset(instant: datetime, tz: tzinfo) -> timedelta:
    return instant.astimezone(tz).utcoffset() or timedelta(0)
