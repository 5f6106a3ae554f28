"""Recurrence rules: read in any form, and due once at each of their times on the clock."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil import rrule as dateutil_rrule
from hypothesis import given, reject
from hypothesis import strategies as st

from taskq.schedules import rrule
from tests.unit.test_schedules.schedule_support import ClockApp, local, runs
from tests.unit.test_schedules.test_clock_changes import (
    IDS,
    REPEATED,
    SKIPPED,
    TRANSITIONS,
    days_around,
    expected_runs,
    real,
)

NINE = "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0"


def due(rule: rrule, *fields: int) -> datetime:
    """Return when a rule is due, having last run at a time in UTC."""
    return rule.due_after(datetime(*fields, tzinfo=UTC))  # type: ignore[arg-type, misc]


def test_the_last_friday_of_each_month() -> None:
    app = ClockApp("UTC")
    rule = rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17;BYMINUTE=30;BYSECOND=0", app=app)
    assert due(rule, 2024, 1, 15) == datetime(2024, 1, 26, 17, 30, tzinfo=UTC)
    assert due(rule, 2024, 1, 26, 17, 30) == datetime(2024, 2, 23, 17, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "made",
    [
        lambda: rrule("RRULE:" + NINE),
        lambda: rrule(NINE.lower()),
        lambda: rrule(dateutil_rrule.DAILY, byhour=9, byminute=0, bysecond=0),
        lambda: pickle.loads(pickle.dumps(rrule(NINE))),
        lambda: copy.copy(rrule(NINE)),
    ],
)
def test_the_same_rule_in_other_forms(made: Any) -> None:
    assert made() == rrule(NINE)


def test_start_and_zone_may_be_in_the_text() -> None:
    rule = rrule("DTSTART;TZID=Asia/Tokyo:20240101T090000\nRRULE:FREQ=WEEKLY;INTERVAL=2")
    assert rule.dtstart == datetime(2024, 1, 1, 9)
    assert str(rule.tz) == "Asia/Tokyo"
    assert due(rule, 2024, 1, 1, 0, 0) == datetime(2024, 1, 15, 0, 0, tzinfo=UTC)
    again = pickle.loads(pickle.dumps(rule))
    assert again == rule
    assert again.tz == rule.tz


def test_a_rule_of_dateutil_keeps_its_start_and_zone() -> None:
    start = datetime(2024, 1, 1, 9, tzinfo=ZoneInfo("Asia/Tokyo"))
    rule = rrule(dateutil_rrule.rrule(dateutil_rrule.DAILY, dtstart=start), app=ClockApp("UTC"))
    assert due(rule, 2024, 1, 5) == datetime(2024, 1, 6, 0, 0, tzinfo=UTC)
    assert rrule(NINE, tz="Asia/Tokyo") != rrule(NINE)


def test_asked_as_beat_asks() -> None:
    app = ClockApp("UTC", datetime(2024, 1, 15, 8, 59, 30, tzinfo=UTC))
    rule = rrule(NINE, app=app)
    last = datetime(2024, 1, 14, 9, 0, 1, tzinfo=UTC)
    assert rule.is_due(last) == (False, 30)
    assert rule.remaining_estimate(last) == timedelta(seconds=30)
    app.moment += timedelta(seconds=31)
    assert rule.is_due(last) == (True, 86399)
    assert rule.remaining_estimate(last) == timedelta(seconds=-1)


@pytest.mark.parametrize("end", ["COUNT=3", "UNTIL=20240103T090000", "UNTIL=20240103T090000Z"])
def test_a_rule_that_is_over_is_not_due_again(end: str) -> None:
    app = ClockApp("UTC", datetime(2024, 1, 3, 9, 0, 1, tzinfo=UTC))
    rule = rrule(f"{NINE};{end}", datetime(2024, 1, 1), app=app)
    assert rule.is_due(datetime(2024, 1, 3, tzinfo=UTC)) == (True, None)
    assert rule.is_due(app.now()) == (False, None)
    assert rule.remaining_estimate(app.now()) is None
    assert rule.due_after(app.now()).year == 9999


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("FREQ=OFTEN", "not a recurrence rule"),
        ("BYHOUR=3", "not a recurrence rule"),
        ("FREQ=DAILY;BYHOUR=25", "hour must be"),
        ("FREQ=DAILY;COLOUR=red", "COLOUR"),
        ("", "has no rule"),
        ("RRULE:FREQ=DAILY\nEXDATE:20240101T000000", "one RRULE"),
        ("FREQ=WEEKLY", "on which day"),
        ("FREQ=DAILY;INTERVAL=2", "INTERVAL is counted from a start"),
        ("FREQ=DAILY;COUNT=1", "COUNT is counted from a start"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL"),
        ("FREQ=SECONDLY;BYMONTH=2,4;BYMONTHDAY=31", "no such day"),
    ],
)
def test_rules_that_make_no_sense_are_refused(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rrule(rule)


def test_a_set_of_rules_is_refused() -> None:
    with pytest.raises(ValueError, match="set of rules"):
        rrule(dateutil_rrule.rruleset())  # type: ignore[arg-type]


def test_a_start_with_interval_zero_is_refused_too() -> None:
    with pytest.raises(ValueError, match="INTERVAL"):
        rrule("FREQ=DAILY;INTERVAL=0", datetime(2024, 1, 1))


PARTS = {
    "SECONDLY": ["", ";BYSECOND=0,30", ";BYSETPOS=1;BYSECOND=1,2"],
    "MINUTELY": ["", ";BYHOUR=3,4", ";BYSECOND=7"],
    "HOURLY": ["", ";BYDAY=MO,WE", ";BYMINUTE=5,10"],
    "DAILY": ["", ";BYMONTH=1,7", ";BYHOUR=1,13;BYSETPOS=-1"],
    "WEEKLY": ["", ";BYDAY=MO,SA;WKST=SU", ";BYDAY=TU,TH;BYSETPOS=2"],
    "MONTHLY": ["", ";BYDAY=2MO", ";BYMONTHDAY=-1"],
}


@given(
    rule=st.sampled_from([(freq, parts) for freq in PARTS for parts in PARTS[freq]]),
    interval=st.integers(1, 5),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2024, 1, 3)),
    later=st.timedeltas(timedelta(0), timedelta(hours=5)),
)
def test_the_long_way_and_the_short_one_lead_to_the_same_time(
    rule: tuple[str, str], interval: int, start: datetime, later: timedelta
) -> None:
    freq, parts = rule
    start = start.replace(microsecond=0)
    unit = {"SECONDLY": 1, "MINUTELY": 20}.get(freq, 600)
    last = (start + later * unit).replace(tzinfo=UTC)
    text = f"FREQ={freq};INTERVAL={interval}{parts}"
    try:
        plain = dateutil_rrule.rrulestr(text, dtstart=start)
    except ValueError:  # It has seen that there are no such times.
        reject()
    expected = plain.after(last.replace(tzinfo=None))
    assert expected is not None
    assert rrule(text, start, app=ClockApp("UTC")).due_after(last) == expected.replace(tzinfo=UTC)


@SKIPPED
def test_a_skipped_time_happens_once_and_later(zone: str, skipped: Any, length: int) -> None:
    minute, hour = skipped[4] + 10, skipped[3]
    begin, end = days_around(zone, *skipped)
    text = f"FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute};BYSECOND=0"
    daily = real(runs(lambda app: rrule(text, app=app), zone, begin, end))
    assert daily.count(local(zone, *skipped[:4], minute).astimezone(UTC)) == 1
    assert len(daily) == (3 if length == 24 * 60 else 4)


@REPEATED
def test_a_repeated_time_happens_the_first_time_only(
    zone: str, repeated: Any, minutes: int
) -> None:
    minute, hour = repeated[4] + 10, repeated[3]
    begin, end = days_around(zone, *repeated)
    text = f"FREQ=DAILY;BYHOUR={hour};BYMINUTE={minute};BYSECOND=0"
    daily = real(runs(lambda app: rrule(text, app=app), zone, begin, end))
    assert daily.count(local(zone, *repeated[:4], minute).astimezone(UTC)) == 1
    assert len(daily) == 4


@pytest.mark.parametrize(("zone", "change"), [row[:2] for row in TRANSITIONS], ids=IDS)
def test_every_quarter_of_an_hour_across_a_change(zone: str, change: Any) -> None:
    begin = local(zone, *change).astimezone(UTC) - timedelta(hours=2)
    end = begin + timedelta(hours=5)
    text = "FREQ=MINUTELY;BYMINUTE=0,15,30,45;BYSECOND=0"
    steady = real(runs(lambda app: rrule(text, app=app), zone, begin, end))
    assert steady == expected_runs(zone, begin, end, 15)
