"""Each time on the clock happens once, also when clocks are set forward or back."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from taskq.schedules import crontab
from tests.unit.test_schedules.schedule_support import local, runs

#: Zone, what clocks skip (from, to), what they show twice (from, to).
TRANSITIONS = [
    ("America/New_York", (2024, 3, 10, 2, 0), 60, (2024, 11, 3, 1, 0), 60),
    ("America/Los_Angeles", (2023, 3, 12, 2, 0), 60, (2023, 11, 5, 1, 0), 60),
    ("America/Havana", (2024, 3, 10, 0, 0), 60, (2024, 11, 3, 0, 0), 60),
    ("America/Sao_Paulo", (2018, 11, 4, 0, 0), 60, (2019, 2, 16, 23, 0), 60),
    ("America/Santiago", (2024, 9, 8, 0, 0), 60, (2024, 4, 6, 23, 0), 60),
    ("America/St_Johns", (2024, 3, 10, 2, 0), 60, (2024, 11, 3, 1, 0), 60),
    ("Europe/Berlin", (2024, 3, 31, 2, 0), 60, (2024, 10, 27, 2, 0), 60),
    ("Europe/London", (2024, 3, 31, 1, 0), 60, (2024, 10, 27, 1, 0), 60),
    ("Asia/Tehran", (2022, 3, 22, 0, 0), 60, (2022, 9, 21, 23, 0), 60),
    ("Asia/Beirut", (2024, 3, 31, 0, 0), 60, (2024, 10, 26, 23, 0), 60),
    ("Australia/Sydney", (2024, 10, 6, 2, 0), 60, (2024, 4, 7, 2, 0), 60),
    ("Australia/Lord_Howe", (2024, 10, 6, 2, 0), 30, (2024, 4, 7, 1, 30), 30),
    ("Pacific/Chatham", (2024, 9, 29, 2, 45), 60, (2024, 4, 7, 2, 45), 60),
    ("Pacific/Apia", (2011, 12, 30, 0, 0), 24 * 60, (2012, 4, 1, 3, 0), 60),
]
IDS = [zone for zone, *_ in TRANSITIONS]
SKIPPED = pytest.mark.parametrize(
    ("zone", "skipped", "length"), [row[:3] for row in TRANSITIONS], ids=IDS
)
REPEATED = pytest.mark.parametrize(
    ("zone", "repeated", "minutes"), [(row[0], *row[3:]) for row in TRANSITIONS], ids=IDS
)


def days_around(zone: str, *fields: int) -> tuple[datetime, datetime]:
    """Return the moments a day before and two days after the day of a transition begin."""
    day = datetime(*fields[:3])
    begin, end = day - timedelta(days=1), day + timedelta(days=3)
    tz = ZoneInfo(zone)
    return begin.replace(tzinfo=tz).astimezone(UTC), end.replace(tzinfo=tz).astimezone(UTC)


def real(runs_at: list[datetime]) -> list[datetime]:
    return [moment.astimezone(UTC) for moment in runs_at]


@SKIPPED
def test_the_table_is_right_about_skipped_times(zone, skipped, length):
    moment = local(zone, *skipped)
    shown = moment.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    assert shown - moment.replace(tzinfo=None) == timedelta(minutes=length)


@REPEATED
def test_the_table_is_right_about_repeated_times(zone, repeated, minutes):
    moment = local(zone, *repeated)
    gained = moment.replace(fold=1).astimezone(UTC) - moment.astimezone(UTC)
    assert gained == timedelta(minutes=minutes)


@SKIPPED
def test_a_skipped_time_happens_once_and_later(zone, skipped, length):
    minute, hour = skipped[4] + 10, skipped[3]
    begin, end = days_around(zone, *skipped)
    daily = runs(lambda app: crontab(minute, hour, app=app), zone, begin, end)
    shifted = local(zone, *skipped[:4], minute).astimezone(UTC)
    assert real(daily).count(shifted) == 1
    per_day = Counter(moment.date() for moment in daily)
    assert set(per_day.values()) == {1}
    assert len(per_day) == (3 if length == 24 * 60 else 4)


@REPEATED
def test_a_repeated_time_happens_the_first_time_only(zone, repeated, minutes):
    minute, hour = repeated[4] + 10, repeated[3]
    begin, end = days_around(zone, *repeated)
    daily = runs(lambda app: crontab(minute, hour, app=app), zone, begin, end)
    per_day = Counter(moment.date() for moment in daily)
    assert len(per_day) == 4
    assert set(per_day.values()) == {1}
    assert local(zone, *repeated[:4], minute).astimezone(UTC) in real(daily)


@SKIPPED
@pytest.mark.parametrize("every", [1, 15, 60])
def test_every_few_minutes_across_skipped_times(zone, skipped, length, every):
    if length > 60:
        # A day is skipped, and each look goes through all of it: fewer looks will do.
        every = max(every, 15)
    begin = local(zone, *skipped).astimezone(UTC) - timedelta(hours=2)
    end = begin + timedelta(hours=5)
    steady = real(runs(lambda app: crontab(f"*/{every}", app=app), zone, begin, end))
    assert steady == sorted(set(steady))
    expected = expected_runs(zone, begin, end, every)
    assert steady == expected


@REPEATED
@pytest.mark.parametrize("every", [1, 15, 60])
def test_every_few_minutes_across_repeated_times(zone, repeated, minutes, every):
    begin = local(zone, *repeated).astimezone(UTC) - timedelta(hours=2)
    end = begin + timedelta(hours=6)
    steady = real(runs(lambda app: crontab(f"*/{every}", app=app), zone, begin, end))
    assert steady == expected_runs(zone, begin, end, every)
    shown = Counter(moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in steady)
    assert set(shown.values()) == {1}


def expected_runs(zone: str, begin: datetime, end: datetime, every: int) -> list[datetime]:
    """Return the moments, found minute by minute, at which the clock first shows each time."""
    tz = ZoneInfo(zone)
    moments = set()
    on_clock = begin.astimezone(tz).replace(tzinfo=None, second=0) - timedelta(days=2)
    while on_clock < end.astimezone(tz).replace(tzinfo=None) + timedelta(days=2):
        if on_clock.minute % every == 0:
            moments.add(on_clock.replace(tzinfo=tz).astimezone(UTC))
        on_clock += timedelta(minutes=1)
    return sorted(moment for moment in moments if begin < moment < end)
