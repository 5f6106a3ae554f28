"""Crontabs: their fields, and when they are due."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from taskq import TaskQ
from taskq.schedules import ParseException, crontab, crontab_parser, schedstate
from tests.unit.test_schedules.schedule_support import ClockApp


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("*", set(range(60))),
        ("*/15", {0, 15, 30, 45}),
        ("3-7", {3, 4, 5, 6, 7}),
        ("3-9/3", {3, 6, 9}),
        ("55-2", {55, 56, 57, 58, 59, 0, 1, 2}),
        ("55-5/3", {55, 58, 1, 4}),
        ("1,2,1", {1, 2}),
        (" 1 , 7-8", {1, 7, 8}),
        ("*/70", {0}),
        (5, {5}),
        ([1, 2], {1, 2}),
        (range(3), {0, 1, 2}),
    ],
)
def test_minutes(spec, numbers):
    assert crontab(minute=spec).minute == numbers


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("mon", {1}),
        ("Sunday", {0}),
        ("mon-fri", {1, 2, 3, 4, 5}),
        ("fri-mon", {5, 6, 0, 1}),
        ("sat,sun", {6, 0}),
        ("*/2", {0, 2, 4, 6}),
    ],
)
def test_days_of_the_week(spec, numbers):
    assert crontab(day_of_week=spec).day_of_week == numbers


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [("jan", {1}), ("nov-feb", {11, 12, 1, 2}), ("*/3", {1, 4, 7, 10}), ("2-12/5", {2, 7, 12})],
)
def test_months(spec, numbers):
    assert crontab(month_of_year=spec).month_of_year == numbers


@pytest.mark.parametrize(
    ("field", "spec", "error"),
    [
        ("minute", "60", ValueError),
        ("minute", 60, ValueError),
        ("minute", "", ParseException),
        ("minute", "1,,2", ParseException),
        ("minute", "-1", ParseException),
        ("minute", "*/", ParseException),
        ("minute", "*/0", ValueError),
        ("minute", "5/10", ValueError),
        ("minute", "a", ValueError),
        ("minute", "1-5-7", ValueError),
        ("minute", 1.5, TypeError),
        ("minute", ["1"], TypeError),
        ("hour", 24, ValueError),
        ("day_of_week", "7", ValueError),
        ("day_of_week", "xyz", ValueError),
        ("day_of_month", 0, ValueError),
        ("day_of_month", "32", ValueError),
        ("month_of_year", "13", ValueError),
    ],
)
def test_fields_that_make_no_sense(field, spec, error):
    with pytest.raises(error):
        crontab(**{field: spec})


@pytest.mark.parametrize(("day", "month"), [(30, 2), (31, "4,6,9,11"), ("30,31", "feb")])
def test_days_that_never_come_are_refused(day, month):
    with pytest.raises(ValueError, match="never occurs"):
        crontab(day_of_month=day, month_of_year=month)


def test_leap_day_is_allowed():
    app = ClockApp(moment=datetime(2025, 3, 1, tzinfo=UTC))
    leap = crontab(0, 0, day_of_month=29, month_of_year=2, app=app)
    due = app.now() + leap.remaining_estimate(app.now())
    assert due == datetime(2028, 2, 29, tzinfo=UTC)


def test_both_kinds_of_days_must_match():
    app = ClockApp(moment=datetime(2024, 1, 15, tzinfo=UTC))
    first_sunday = crontab(0, 0, day_of_week="sun", day_of_month="1-7", app=app)
    due = app.now() + first_sunday.remaining_estimate(app.now())
    assert due == datetime(2024, 2, 4, tzinfo=UTC)


def test_from_string_has_the_order_of_a_crontab_file():
    cron = crontab.from_string("*/5 1 2 3 mon")
    assert cron == crontab("*/5", 1, day_of_month=2, month_of_year=3, day_of_week="mon")
    with pytest.raises(ValueError):
        crontab.from_string("* * *")


def test_is_due_and_when_to_ask_again():
    app = ClockApp()  # 10:30:15
    hourly = crontab(minute=30, app=app)
    assert hourly.is_due(app.now()) == schedstate(False, 3585)
    assert hourly.is_due(app.now() - timedelta(minutes=1)) == schedstate(True, 3585)
    assert hourly.is_due(app.now() - timedelta(days=9)) == schedstate(True, 3585)


def test_not_due_twice_in_its_minute():
    app = ClockApp(moment=datetime(2024, 1, 15, 10, 30, 0, tzinfo=UTC))
    assert crontab(minute=30, app=app).is_due(app.now()) == (False, 3600)


def test_a_last_run_in_the_future_is_waited_for():
    app = ClockApp()
    assert crontab(app=app).is_due(app.now() + timedelta(hours=1)) == (False, 3645)


@pytest.mark.parametrize(("deadline", "due"), [(None, True), (10, False), (15, True), (99, True)])
def test_starting_deadline(deadline, due):
    app = ClockApp()  # 15 seconds after it was due
    app.conf.beat_cron_starting_deadline = deadline
    last = app.now() - timedelta(days=2)
    assert crontab(minute=30, app=app).is_due(last) == (due, 3585)


def test_fields_are_of_the_clock_of_the_app():
    app = ClockApp("Asia/Kolkata")  # 16:00:15
    assert crontab(0, 17, app=app).remaining_estimate(app.now()) == timedelta(seconds=3585)


def test_zone_of_the_schedule_wins_over_the_app_s():
    app = ClockApp("Asia/Kolkata")  # 11:30:15 in Berlin
    at_noon = crontab(0, 12, app=app, tz="Europe/Berlin")
    assert at_noon.remaining_estimate(app.now()) == timedelta(seconds=1785)


def test_remaining_delta_leads_to_the_next_run():
    app = ClockApp("America/New_York")
    last, delta, now = crontab(0, 3, app=app).remaining_delta(app.now())
    assert last + delta == datetime(2024, 1, 16, 8, 0, tzinfo=UTC)
    assert now == app.now()
    _, delta, _ = crontab(0, 3, app=app).remaining_delta(app.now(), tz="Europe/Berlin")
    assert (delta.day, delta.hour) == (16, 3)


def test_next_time_is_decades_away():
    app = ClockApp()
    rare = crontab(59, 23, day_of_month=29, month_of_year=2, day_of_week="mon", app=app)
    due = app.now() + rare.remaining_estimate(app.now())
    assert due == datetime(2044, 2, 29, 23, 59, tzinfo=UTC)


def test_equal_by_numbers():
    assert crontab("*/30") == crontab([0, 30])
    assert crontab(1) != crontab(2)
    assert crontab() != 3


def test_pickle():
    cron = crontab("*/5", hour=[1, 2], day_of_week="mon")
    copy = pickle.loads(pickle.dumps(cron))
    assert copy == cron
    assert repr(copy) == repr(cron) == "<crontab: */5 [1, 2] * * mon (m/h/dM/MY/d)>"


def test_parser_of_any_field():
    assert crontab_parser(31, 1).parse("*/10") == {1, 11, 21, 31}
    assert crontab_parser.ParseException is ParseException


class LeftByEstimate(crontab):
    left = timedelta(0)

    def remaining_estimate(self, last_run_at: datetime, ffwd: object = None) -> timedelta:
        return self.left


class LeftByDelta(crontab):
    left = timedelta(0)

    def remaining_delta(
        self, last_run_at: datetime, tz: object = None, ffwd: object = None
    ) -> tuple[datetime, timedelta, datetime]:
        return NOON, self.left, NOON


NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize("cls", [LeftByEstimate, LeftByDelta])
def test_subclasses_say_how_long_it_is_until_the_next_run(
    cls: type[LeftByEstimate] | type[LeftByDelta],
) -> None:
    schedule = cls(nowfun=lambda: NOON, app=TaskQ("x", set_as_current=False))
    assert schedule.is_due(NOON) == (True, 0)
    schedule.left = timedelta(seconds=5)
    assert schedule.is_due(NOON - timedelta(days=1)) == (False, 5)
    assert schedule.remaining_estimate(NOON) == schedule.left
    assert schedule.due_after(NOON) == NOON + schedule.left
    schedule.app.conf.beat_cron_starting_deadline = 60
    schedule.left = timedelta(seconds=-61)
    assert schedule.is_due(NOON) == (False, 0)
