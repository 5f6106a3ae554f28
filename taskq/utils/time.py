"""Time zones, durations, rates, and dates that move: arithmetic for schedules and ETAs.

Used by schedules, message building and the worker.
"""

from __future__ import annotations

import time as _time
from datetime import UTC, date, datetime, timedelta, tzinfo
from datetime import timezone as datetime_timezone
from types import ModuleType
from typing import TYPE_CHECKING, Any

from taskq.utils.lazymodule import lazy_attributes
from taskq.utils.objects import cached_property
from taskq.utils.text import pluralize

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

ZERO = timedelta(0)


class LocalTimezone(tzinfo):
    """The zone of this machine as the C library knows it, for want of the zone's name."""

    _offset_cache: dict[int, tzinfo] = {}

    def __init__(self) -> None:
        self.STDOFFSET = timedelta(seconds=-_time.timezone)
        self.DSTOFFSET = timedelta(seconds=-_time.altzone) if _time.daylight else self.STDOFFSET
        self.DSTDIFF = self.DSTOFFSET - self.STDOFFSET
        super().__init__()

    def __repr__(self) -> str:
        return f"<LocalTimezone: UTC{int(self.DSTOFFSET.total_seconds() / 3600):+03d}>"

    def utcoffset(self, dt: datetime | None) -> timedelta:
        """Return the offset from UTC at local time ``dt``."""
        return self.DSTOFFSET if self._isdst(dt) else self.STDOFFSET

    def dst(self, dt: datetime | None) -> timedelta:
        """Return how far clocks are put forward at local time ``dt``."""
        return self.DSTDIFF if self._isdst(dt) else ZERO

    def tzname(self, dt: datetime | None) -> str:
        """Return the zone's abbreviation at local time ``dt``."""
        return _time.tzname[self._isdst(dt)]

    def fromutc(self, dt: datetime) -> datetime:
        """Return the local time of UTC time ``dt`` (whose zone is set to this one)."""
        stamp = dt.replace(tzinfo=UTC).timestamp()
        local = _time.localtime(stamp)
        offset = timedelta(seconds=local.tm_gmtoff)
        return (dt + offset).replace(tzinfo=self)

    def _isdst(self, dt: datetime | None) -> bool:
        if dt is None:
            return False
        stamp = _time.mktime((*dt.timetuple()[:8], -1))
        return _time.localtime(stamp).tm_isdst > 0


class _Zone:
    """The time zones in use: ``utc``, ``local``, and conversions between them."""

    def tz_or_local(self, tzinfo: tzinfo | str | None = None) -> tzinfo:
        """Return zone ``tzinfo`` (a zone or its name), or the local one if it is None."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def to_local(
        self, dt: datetime, local: tzinfo | None = None, orig: tzinfo | None = None
    ) -> datetime:
        """Convert ``dt`` to zone ``local``; a naive one is taken to be in ``orig`` (UTC)."""
        if is_naive(dt):
            dt = make_aware(dt, orig or self.utc)
        return localize(dt, self.tz_or_local(local))

    def to_system(self, dt: datetime) -> datetime:
        """Convert ``dt`` to the machine's zone."""
        return dt.astimezone(tz=None)

    def to_local_fallback(self, dt: datetime) -> datetime:
        """Convert ``dt`` to the machine's zone; a naive one is taken to be in it."""
        if is_naive(dt):
            return make_aware(dt, self.local)
        return localize(dt, self.local)

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """Return the zone called ``zone``; a zone is returned unchanged."""
        return _zone_called(zone) if isinstance(zone, str) else zone

    @cached_property
    def local(self) -> tzinfo:
        """The machine's zone, by name if it can be found out."""
        return _machine_zone()

    @cached_property
    def utc(self) -> tzinfo:
        """The zone of UTC."""
        return self.get_timezone("UTC")


timezone = _Zone()


def _zone_called(name: str) -> tzinfo:
    # Imported when needed: it takes longer than the rest of this module.
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _machine_zone() -> tzinfo:
    try:
        from tzlocal import get_localzone
    except ImportError:
        return _zone_from_environment() or LocalTimezone()
    return get_localzone()


def _zone_from_environment() -> tzinfo | None:
    import os

    name = os.environ.get("TZ", "").lstrip(":")
    if not name:
        path = os.path.realpath("/etc/localtime")
        _, found, name = path.partition("zoneinfo/")
        if not found:
            return None
    try:
        return _zone_called(name)
    except (ValueError, OSError, KeyError):
        return None  # A POSIX rule, a file, or a name that is not installed.


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
    """
    if not r:
        return 0
    if isinstance(r, str):
        operations, _, modifier = r.partition("/")
        return RATE_MODIFIER_MAP[modifier or "s"](float(operations)) or 0
    return r or 0


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


def is_naive(dt: datetime) -> bool:
    """Return True if ``dt`` has no time zone."""
    return dt.tzinfo is None or dt.tzinfo.utcoffset(dt) is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """Return ``dt`` with zone ``tz`` set, not converted to it.

    A time that clocks skip becomes the one they show instead; one that clocks show twice is the
    first of the two.
    """
    dt = dt.replace(tzinfo=tz, fold=0)
    if isinstance(tz, datetime_timezone):
        return dt
    utc = UTC
    # Only a time that does not exist changes on the way to UTC and back.
    return dt.astimezone(utc).astimezone(tz).replace(fold=0)


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """Convert ``dt`` to zone ``tz``; a naive one is taken to be in it."""
    if is_naive(dt):
        return make_aware(dt, tz)
    return dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """Convert ``dt`` to UTC; a naive one is taken to be in it."""
    if is_naive(dt):
        return dt.replace(tzinfo=timezone.utc)
    return dt.astimezone(timezone.utc)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """Return ``dt`` with a zone; one that has a zone is returned unchanged.

    Parameters:
        dt: the time.
        tz: the zone to convert a naive ``dt`` to (default UTC).
        naive_as_utc: take a naive ``dt`` to be in UTC, else in ``tz``.
    """
    if is_naive(dt):
        if naive_as_utc:
            dt = to_utc(dt)
        return localize(dt, timezone.utc if tz is None else timezone.tz_or_local(tz))
    return dt


class ffwd:
    """Moves a date forward: ``dt + ffwd(hour=3, minute=0)`` is the same day at three.

    Parameters:
        year, month, day, hour, minute, second, microsecond: fields to replace; a day past the
            month's end means its last day.
        weeks: weeks to add.
        weekday: go on to this day of the week (Monday is 0), if it is not that day already.
    """

    def __init__(
        self,
        year: int | None = None,
        month: int | None = None,
        weeks: int = 0,
        weekday: int | None = None,
        day: int | None = None,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        microsecond: int | None = None,
        **kwargs: Any,
    ) -> None:
        # weekday and weeks are applied after the fields are replaced.
        self.year = year
        self.month = month
        self.weeks = weeks
        self.weekday = weekday
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
        self.microsecond = microsecond
        self.days = weeks * 7
        self._has_time = self.hour is not None or self.minute is not None

    def __repr__(self) -> str:
        shown = self._fields(weeks=self.weeks, weekday=self.weekday)
        return f"ffwd({', '.join(f'{key}={value!r}' for key, value in shown.items())})"

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, date):
            return NotImplemented
        from calendar import monthrange

        year = self.year or other.year
        month = self.month or other.month
        day = min(monthrange(year, month)[1], self.day or other.day)
        moved = other.replace(**{**self._fields(), "year": year, "month": month, "day": day})
        days = self.days
        if self.weekday is not None:
            days += (7 - moved.weekday() + self.weekday) % 7
        return moved + timedelta(days=days)

    def _fields(self, **extra: Any) -> dict[str, Any]:
        fields = {
            "year": self.year,
            "month": self.month,
            "day": self.day,
            "hour": self.hour,
            "minute": self.minute,
            "second": self.second,
            "microsecond": self.microsecond,
            **extra,
        }
        return {key: value for key, value in fields.items() if value is not None}


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
