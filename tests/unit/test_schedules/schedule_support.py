"""A clock that tests set, and an app that has no more than schedules ask for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo


class ClockApp:
    """App in a time zone whose `now` stands still until `moment` is set."""

    def __init__(self, zone: str = "UTC", moment: datetime | None = None) -> None:
        self.timezone: tzinfo = ZoneInfo(zone)
        self.conf = SimpleNamespace(beat_cron_starting_deadline=None, enable_utc=True)
        self.moment = moment or datetime(2024, 1, 15, 10, 30, 15, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment.astimezone(self.timezone)


def runs(
    make: Callable[[ClockApp], Any], zone: str, begin: datetime, end: datetime, *, wake: float = 300
) -> list[datetime]:
    """Return when a task runs between two moments, asked as beat asks.

    - make: returns the schedule for an app.
    - wake: seconds that beat sleeps at most.
    """
    app = ClockApp(zone, begin.astimezone(UTC))
    schedule = make(app)
    last = app.now()
    times = []
    while app.moment < end:
        due, following = schedule.is_due(last)
        if due:
            times.append(app.now())
            last = app.now()
        app.moment += timedelta(seconds=max(min(following, wake), 0.001))
    return times


def local(zone: str, *fields: int) -> datetime:
    """Return the moment at which the clock of a zone shows this."""
    return datetime(*fields, tzinfo=ZoneInfo(zone))  # type: ignore[arg-type, misc]
