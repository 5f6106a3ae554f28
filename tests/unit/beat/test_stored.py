"""Schedules in a SQL database: what can be stored, changed, and is seen by a scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.beat.leases.base import Run
from taskq.beat.stored import DatabaseScheduler, ScheduleStore, UnknownEntry, open_store
from taskq.beat.stored.definitions import definition_of, entry_from
from taskq.exceptions import ImproperlyConfigured
from taskq.schedules import crontab, rrule, schedule
from tests.unit.beat.beat_support import ago, sent, tick_all

NewApp = Callable[..., TaskQ]


@pytest.fixture
def app(new_app: NewApp, tmp_path: Path) -> TaskQ:
    return new_app(beat_schedule_database=f"sqlite:///{tmp_path}/beat.db")


@pytest.fixture
def store(app: TaskQ) -> Iterator[ScheduleStore]:
    opened = open_store(app)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "when",
    [
        30,
        0.25,
        timedelta(hours=1),
        schedule(60, relative=True),
        crontab(),
        crontab("*/5", "8-18", "mon-fri", "1,15", "jan"),
        crontab(minute=[1, 2, 3]),
        crontab(hour=9, tz="Asia/Tokyo"),
        rrule("FREQ=MONTHLY;BYDAY=-1FR"),
        rrule("FREQ=DAILY;INTERVAL=2", datetime(2024, 1, 1, 9), tz="Asia/Tokyo"),
        rrule("FREQ=DAILY;COUNT=2", datetime(2024, 1, 1, 9, tzinfo=UTC)),
    ],
)
def test_schedules_come_back_as_they_were(app: TaskQ, when: Any) -> None:
    text = definition_of({"task": "t", "schedule": when})
    found = entry_from(text, app)["schedule"]
    expected = schedule(when) if isinstance(when, (int, float, timedelta)) else when
    assert found == expected
    assert type(found) is type(expected)
    assert getattr(found, "relative", None) == getattr(expected, "relative", None)
    assert found._tz == expected._tz


class Own(schedule):
    """A schedule of a user."""


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"task": "t", "schedule": Own(3)}, "class Own cannot be stored"),
        ({"task": "t", "schedule": 3, "overlap": "maybe"}, "overlap is 'maybe'"),
        ({"task": "t", "schedule": 3, "colour": "red"}, "colour"),
        ({"task": "t", "schedule": None}, "schedule is missing"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    store: ScheduleStore, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        store.add("n", **entry)
    assert store.entries() == []


def test_changing_an_entry_keeps_its_last_run(store: ScheduleStore) -> None:
    store.add("n", task="t", schedule=3)
    run = Run(ago(hours=1), 7)
    store.record({"n": run})
    store.add("n", task="other", schedule=5)
    assert store.get("n").run == run
    assert len(store.entries()) == 1


def test_only_changes_count(store: ScheduleStore) -> None:
    store.add("n", task="t", schedule=3)
    before = store.revision()
    store.add("n", task="t", schedule=3)
    store.record({"n": Run(ago(), 1)})
    assert store.revision() == before
    store.add("n", task="t", schedule=4)
    assert store.revision() > before


def test_entries_that_there_are_not(store: ScheduleStore) -> None:
    with pytest.raises(UnknownEntry, match="no periodic task 'n'"):
        store.get("n")
    with pytest.raises(UnknownEntry):
        store.pause("n")
    with pytest.raises(UnknownEntry):
        store.remove("n")


def test_a_store_needs_a_database(new_app: NewApp) -> None:
    with pytest.raises(ImproperlyConfigured, match="beat_schedule_database"):
        open_store(new_app())


@pytest.fixture
def scheduler(app: TaskQ) -> Iterator[DatabaseScheduler]:
    made = DatabaseScheduler(app)
    yield made
    made.close()


def look(scheduler: DatabaseScheduler) -> None:
    """Let the time pass until the scheduler looks at the database."""
    scheduler._polled = 0.0
    scheduler.tick()


def test_changes_are_seen(scheduler: DatabaseScheduler, store: ScheduleStore) -> None:
    store.add("n", task="t", schedule=60, args=[1])
    look(scheduler)
    assert scheduler.schedule["n"].args == [1]
    store.add("n", task="t", schedule=60, args=[2])
    look(scheduler)
    assert scheduler.schedule["n"].args == [2]
    store.pause("n")
    look(scheduler)
    assert "n" not in scheduler.schedule
    store.resume("n", now=ago())
    look(scheduler)
    assert "n" in scheduler.schedule
    store.remove("n")
    look(scheduler)
    assert "n" not in scheduler.schedule


def test_what_is_due_is_sent_and_written_down(
    app: TaskQ, scheduler: DatabaseScheduler, store: ScheduleStore
) -> None:
    store.add("n", task="t", schedule=60)
    store.record({"n": Run(ago(hours=1), 4)})
    look(scheduler)
    tick_all(scheduler)
    assert len(sent(app)) == 1
    look(scheduler)
    run = store.get("n").run
    assert run is not None
    assert run.total_run_count == 5


def test_a_task_that_is_resumed_is_not_sent_for_the_time_it_was_paused(
    app: TaskQ, scheduler: DatabaseScheduler, store: ScheduleStore
) -> None:
    store.add("n", task="t", schedule=60)
    store.record({"n": Run(ago(hours=1), 4)})
    store.pause("n")
    store.resume("n", now=ago())
    look(scheduler)
    tick_all(scheduler)
    assert sent(app) == []


def test_entries_of_the_settings_are_there_and_go_with_them(
    app: TaskQ, store: ScheduleStore
) -> None:
    store.add("mine", task="t", schedule=60)
    app.conf.beat_schedule = {"conf": {"task": "t", "schedule": 5}}
    DatabaseScheduler(app).close()
    assert [entry.name for entry in store.entries()] == ["conf", "mine"]
    app.conf.beat_schedule = {}
    DatabaseScheduler(app).close()
    assert [entry.name for entry in store.entries()] == ["mine"]


def test_an_entry_waits_for_its_first_run_across_restarts(app: TaskQ, store: ScheduleStore) -> None:
    store.add("n", task="t", schedule=60)
    first = DatabaseScheduler(app)
    since = first.schedule["n"].last_run_at
    first.close()
    second = DatabaseScheduler(app)
    assert second.schedule["n"].last_run_at == since
    second.close()
