"""Schedules by the sun."""

from __future__ import annotations

import pickle
import sys
from datetime import UTC, datetime, timedelta

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import solar
from tests.unit.test_schedules.schedule_support import ClockApp


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ephem", None)
    with pytest.raises(ImproperlyConfigured, match=r"taskq\[solar\]"):
        solar("sunset", 52, 13)


@pytest.mark.parametrize("wrong", [("moonrise", 0, 0), ("sunset", 91, 0), ("sunset", 0, -181)])
def test_events_and_places_that_do_not_exist(wrong):
    with pytest.raises(ValueError, match="is invalid"):
        solar(*wrong)


def test_sunset_in_berlin():
    app = ClockApp(moment=datetime(2024, 7, 15, 12, tzinfo=UTC))
    sunset = solar("sunset", 52.5, 13.4, app=app)
    due = app.now() + sunset.remaining_estimate(app.now())
    assert abs(due - datetime(2024, 7, 15, 19, 20, tzinfo=UTC)) < timedelta(minutes=3)
    assert sunset.is_due(app.now()).is_due is False
    assert sunset.is_due(app.now() - timedelta(days=1)).is_due is True


def test_waits_for_the_end_of_the_polar_day():
    app = ClockApp(moment=datetime(2024, 7, 15, tzinfo=UTC))
    assert solar("sunset", 80, 13, app=app).remaining_estimate(app.now()) > timedelta(days=20)


def test_pickle():
    dawn = solar("dawn_civil", 52, 13)
    assert pickle.loads(pickle.dumps(dawn)) == dawn
    assert repr(dawn) == "<solar: dawn_civil at latitude 52, longitude: 13>"
