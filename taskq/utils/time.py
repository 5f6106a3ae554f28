"""Time zones, durations, rates, and dates that move: arithmetic for schedules and ETAs.

Used by schedules, message building and the worker.
"""

from __future__ import annotations

import math
import time as _time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taskq.utils.ffwd import ffwd
from taskq.utils.lazymodule import lazy_attributes
from taskq.utils.text import pluralize
from taskq.utils.zones import ZERO as ZERO
from taskq.utils.zones import (
    LocalTimezone,
    is_naive,
    localize,
    make_aware,
    maybe_make_aware,
    timezone,
    to_utc,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo as ZoneInfo

__all__ = (
    "LocalTimezone",
    "add_seconds_to_datetime",
    "adjust_timestamp",
    "delta_resolution",
    "ffwd",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "subtract_datetimes",
    "timezone",
    "to_utc",
    "utcoffset",
    "weekday",
)

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(__name__, {"ZoneInfo": "zoneinfo:ZoneInfo"})

DAYNAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
WEEKDAYS = {name: number for number, name in enumerate(DAYNAMES)}

MONTHNAMES = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
YEARMONTHS = {name: number for number, name in enumerate(MONTHNAMES, start=1)}

#: Letter of a rate limit -> what makes a rate per second of it.
RATE_MODIFIER_MAP: dict[str, Callable[[float], float]] = {
    "s": lambda n: n,
    "m": lambda n: n / 60.0,
    "h": lambda n: n / 60.0 / 60.0,
}

#: Unit, its seconds, and how a number of it is written.
TIME_UNITS: tuple[tuple[str, float, Callable[[float], str]], ...] = (
    ("day", 60 * 60 * 24.0, "{:.2f}".format),
    ("hour", 60 * 60.0, "{:.2f}".format),
    ("minute", 60.0, "{:.2f}".format),
    ("second", 1.0, "{:.2f}".format),
)


def maybe_timedelta(delta: Any) -> Any:
    """Return a timedelta of ``delta`` seconds; what is no number is returned unchanged."""
    if isinstance(delta, (int, float)):
        return timedelta(seconds=delta)
    return delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """Round ``dt`` down to the unit of ``delta``: to the day if it is days, and so on.

    Seconds are not rounded.
    """
    seconds = max(delta.total_seconds(), 0)
    if seconds >= 86400:
        return dt.replace(hour=0, minute=0, second=0, microsecond=0)
    if seconds >= 3600:
        return dt.replace(minute=0, second=0, microsecond=0)
    if seconds >= 60:
        return dt.replace(second=0, microsecond=0)
    return dt


def remaining(
    start: datetime,
    ends_in: timedelta | ffwd,
    now: datetime | None = None,
    relative: bool = False,
) -> timedelta:
    """Return how long it is until ``ends_in`` after ``start``; negative if that is over.

    Parameters:
        start: the beginning; naive means UTC.
        ends_in: a duration, measured in real time also across a change of clocks; or a
            :class:`ffwd`, which means a time on the clock of the zone of ``start``.
        now: the current time (default: the clock's).
        relative: round the end down to the unit of ``ends_in``.
    """
    start = _aware(start)
    now = datetime.now(UTC) if now is None else _aware(now)
    if isinstance(ends_in, timedelta):
        end = add_seconds_to_datetime(start, ends_in.total_seconds())
        if relative:
            end = delta_resolution(end, ends_in)
    else:
        end = start + ends_in
        # A time that exists twice means the first one.
        end = end.replace(fold=0)
    return subtract_datetimes(end, now)


def _aware(dt: datetime) -> datetime:
    return dt.replace(tzinfo=UTC) if dt.tzinfo is None else dt


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """Return ``dt`` plus so many seconds of real time, whatever clocks do meanwhile."""
    if dt.tzinfo is None:
        return dt + timedelta(seconds=seconds)
    moment = dt.astimezone(UTC) + timedelta(seconds=seconds)
    return moment.astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """Return the real time from ``start`` to ``end``, whatever clocks do meanwhile."""
    if end.tzinfo is None or start.tzinfo is None:
        return end - start
    # Within one zone Python subtracts what clocks show.
    utc = UTC
    return end.astimezone(utc) - start.astimezone(utc)


def rate(r: str | float | None) -> float:
    """Convert a rate limit such as ``"10/m"`` (``s``, ``m`` or ``h``) to a rate per second.

    A number is a rate per second already; None and 0 mean no limit.

    Raises ValueError for text that is no rate, and for less than nothing.
    """
    if not r:
        return 0
    value: float | None = r if not isinstance(r, str) else None
    if isinstance(r, str):
        operations, _, modifier = r.partition("/")
        with suppress(KeyError, ValueError):
            value = RATE_MODIFIER_MAP[modifier or "s"](float(operations))
    if value is None or not 0 <= value < math.inf:
        raise ValueError(f"{r!r} is no rate limit: write a number and /s, /m or /h, such as '10/m'")
    return value or 0


def weekday(name: str) -> int:
    """Return the number of a day of the week: ``sun`` is 0. Only three letters count."""
    abbreviation = name[0:3].lower()
    try:
        return WEEKDAYS[abbreviation]
    except KeyError:
        raise KeyError(name) from None


def yearmonth(name: str) -> int:
    """Return the number of a month: ``jan`` is 1. Only three letters count."""
    abbreviation = name[0:3].lower()
    try:
        return YEARMONTHS[abbreviation]
    except KeyError:
        raise KeyError(name) from None


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Return a duration for people: ``60`` is ``"1.00 minute"``.

    Parameters:
        secs: the duration in seconds.
        prefix: put before the duration, but not before ``now``.
        sep: put between prefix and duration.
        now: returned for less than a second.
        microseconds: give fractions of a second instead of ``now``.
    """
    secs = float(format(float(secs), ".2f"))
    for unit, divider, formatter in TIME_UNITS:
        if secs >= divider:
            amount = secs / float(divider)
            return f"{prefix}{sep}{formatter(amount)} {pluralize(amount, unit)}"
    if microseconds and secs > 0.0:
        return f"{prefix}{sep}{secs} seconds"
    return now


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """Parse text in ISO 8601; a datetime or None is returned unchanged."""
    if not dt:
        return None
    if isinstance(dt, datetime):
        return dt
    return _parse_iso(dt)


def _parse_iso(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # ISO 8601 allows more than Python reads, such as '2030-01' and '24:00'.
        from dateutil.parser import isoparse

        return isoparse(text)


def utcoffset(
    time: ModuleType = _time, localtime: Callable[..., _time.struct_time] = _time.localtime
) -> float:
    """Return how many hours UTC is ahead of local time now, daylight saving included."""
    if localtime().tm_isdst > 0:
        return time.altzone / 3600  # type: ignore[no-any-return]
    return time.timezone / 3600  # type: ignore[no-any-return]


def adjust_timestamp(ts: float, offset: float, here: Callable[..., float] = utcoffset) -> float:
    """Convert a local timestamp of a machine at UTC offset ``offset`` (hours) to one of ours."""
    return ts - (offset - here()) * 3600


def get_exponential_backoff_interval(
    factor: float, retries: int, maximum: float, full_jitter: bool = False
) -> Any:
    """Return how long to wait before the next try: ``factor * 2 ** retries``.

    Parameters:
        factor: seconds to wait before the first retry.
        retries: how many retries there have been.
        maximum: longest wait, in seconds.
        full_jitter: return a random number from 0 up to that instead, so that many tasks that
            failed together are not tried again together.
    """
    # 2 ** 64 seconds is past every maximum; without this bound the number could fill memory.
    countdown = min(maximum, factor * (2 ** min(retries, 64)))
    if full_jitter:
        import random

        countdown = random.randrange(int(countdown) + 1)
    return max(0, countdown)
