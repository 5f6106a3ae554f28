"""Time zones: the ones in use, and conversions between them.

Used by schedules and for ETAs; found in :mod:`taskq.utils.time`.
"""

from __future__ import annotations

import time as _time
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import timezone as datetime_timezone

from taskq.utils.objects import cached_property

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
