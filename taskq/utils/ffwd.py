"""Dates that move: the same day at three, the next Monday, and so on.

Used by schedules; found in :mod:`taskq.utils.time`.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any


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
