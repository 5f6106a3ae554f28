"""Schedules that come round after a fixed time."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta

import pytest

from taskq.schedules import crontab, maybe_schedule, schedstate, schedule
from tests.unit.test_schedules.schedule_support import ClockApp, local


def test_not_due_until_the_interval_is_over():
    app = ClockApp()
    every = schedule(30, app=app)
    assert every.is_due(app.now() - timedelta(seconds=10)) == schedstate(False, 20)
    assert every.is_due(app.now() - timedelta(seconds=30)) == schedstate(True, 30)
    assert every.is_due(app.now() - timedelta(days=1)) == schedstate(True, 30)


def test_naive_last_run_is_utc():
    app = ClockApp("Asia/Kolkata")
    naive = datetime(2024, 1, 15, 10, 30, 5)
    assert schedule(30, app=app).remaining_estimate(naive) == timedelta(seconds=20)


@pytest.mark.parametrize(
    ("every", "seconds"),
    [(timedelta(minutes=5), 285), (timedelta(hours=1), 1785), (timedelta(days=1), 48585)],
)
def test_relative_rounds_down_to_the_unit(every, seconds):
    app = ClockApp()
    assert schedule(every, relative=True, app=app).is_due(app.now()) == (False, seconds)
    overdue = schedule(every, relative=True, app=app).is_due(app.now() - 2 * every)
    assert overdue == (True, seconds)


def test_relative_day_is_as_long_as_the_day():
    moment = local("America/New_York", 2024, 3, 9, 22, 0).astimezone(UTC)
    app = ClockApp("America/New_York", moment)
    daily = schedule(timedelta(days=1), relative=True, app=app)
    assert daily.remaining_estimate(app.now()) == timedelta(hours=2)


def test_zone_of_the_schedule_wins_over_the_app_s():
    app = ClockApp("UTC", datetime(2024, 7, 1, 21, 0, tzinfo=UTC))
    daily = schedule(timedelta(days=1), relative=True, app=app, tz="Europe/Berlin")
    naive = datetime(2024, 7, 1, 21, 0)
    assert daily.remaining_estimate(naive) == timedelta(hours=1)


def test_nowfun_is_the_clock():
    def nowfun() -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    assert schedule(10, nowfun=nowfun, app=ClockApp()).is_due(nowfun()) == (False, 10)


def test_seconds_are_never_negative():
    assert schedule(-5).seconds == 0
    assert schedule(-5).human_seconds == "now"


def test_equal_by_interval():
    assert schedule(30) == schedule(timedelta(seconds=30))
    assert schedule(30) == timedelta(seconds=30)
    assert schedule(30) != schedule(31)


def test_pickle_keeps_everything():
    copy = pickle.loads(pickle.dumps(schedule(30, relative=True, tz="Europe/Berlin")))
    assert copy == schedule(30)
    assert copy.relative is True
    assert str(copy.tz) == "Europe/Berlin"


@pytest.mark.parametrize("given", [30, 30.0, timedelta(seconds=30)])
def test_maybe_schedule_makes_one(given):
    app = ClockApp()
    made = maybe_schedule(given, relative=True, app=app)
    assert made == schedule(30)
    assert made.relative is True
    assert made.app is app


def test_maybe_schedule_keeps_a_schedule():
    cron = crontab(minute=3)
    app = ClockApp()
    assert maybe_schedule(cron, app=app) is cron
    assert cron.app is app


def test_repr():
    assert repr(schedule(30)) == "<freq: 30.00 seconds>"
    assert repr(schedule(3600)) == "<freq: 1.00 hour>"
