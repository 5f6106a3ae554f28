"""Crontabs against a search minute by minute, for fields and zones made up at random."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.schedules import crontab
from tests.unit.test_schedules.schedule_support import ClockApp

ZONES = (
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "Europe/Berlin",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Antarctica/Troll",
)


def some_of(first: int, last: int) -> st.SearchStrategy[set[int]]:
    numbers = st.sets(st.integers(first, last), min_size=1, max_size=4)
    return st.one_of(st.just(set(range(first, last + 1))), numbers)


MOMENTS = st.datetimes(datetime(2019, 1, 1), datetime(2027, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


def search(cron: crontab, last: datetime, tz: ZoneInfo, days: int) -> datetime | None:
    """Return when a crontab happens first after `last`, looking at each minute of some days."""
    on_clock = last.astimezone(tz).replace(tzinfo=None, second=0, microsecond=0, fold=0)
    on_clock -= timedelta(hours=3)
    best = None
    for _ in range(days * 24 * 60):
        if (
            on_clock.minute in cron.minute
            and on_clock.hour in cron.hour
            and on_clock.isoweekday() % 7 in cron.day_of_week
            and on_clock.day in cron.day_of_month
            and on_clock.month in cron.month_of_year
        ):
            moment = on_clock.replace(tzinfo=tz).astimezone(UTC)
            if moment > last and (best is None or moment < best):
                best = moment
        on_clock += timedelta(minutes=1)
    return best


@settings(max_examples=150, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    last=MOMENTS,
    minute=some_of(0, 59),
    hour=some_of(0, 23),
    day_of_week=some_of(0, 6),
)
def test_next_time_of_day(zone, last, minute, hour, day_of_week):
    app = ClockApp(zone, last)
    cron = crontab(minute, hour, day_of_week, app=app)
    assert last + cron.remaining_estimate(last) == search(cron, last, ZoneInfo(zone), 9)


@settings(max_examples=60, deadline=None)
@given(
    last=MOMENTS,
    day_of_week=some_of(0, 6),
    day_of_month=some_of(1, 28),
    month_of_year=some_of(1, 12),
)
def test_next_day(last, day_of_week, day_of_month, month_of_year):
    app = ClockApp("UTC", last)
    cron = crontab(0, 0, day_of_week, day_of_month, month_of_year, app=app)
    due = last + cron.remaining_estimate(last)
    day = last.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    while not (
        day.isoweekday() % 7 in day_of_week
        and day.day in day_of_month
        and day.month in month_of_year
    ):
        day += timedelta(days=1)
    assert due == day
