"""The schedule file: it keeps the last runs, and nothing in it stops beat."""

from __future__ import annotations

import dbm
import logging
import shelve
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.beat import PersistentScheduler, ScheduleEntry, Service
from taskq.schedules import crontab, schedule
from tests.unit.beat.beat_support import ago, sent, tick_all

NewApp = Callable[..., TaskQ]

HOURLY = {"n": {"task": "t", "schedule": 3600.0}}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "schedule")


def open_scheduler(app: TaskQ, path: str) -> PersistentScheduler:
    return PersistentScheduler(app, schedule_filename=path)


def test_the_last_run_survives_a_restart_and_edits(new_app: NewApp, path: str) -> None:
    last = ago(minutes=5)
    first = open_scheduler(new_app(beat_schedule=HOURLY), path)
    first.schedule["n"].last_run_at = last
    first.schedule["n"].total_run_count = 3
    first.close()
    edited = {"n": {"task": "other", "schedule": crontab(minute=3), "args": (1,)}}
    second = open_scheduler(new_app(beat_schedule=edited), path)
    entry = second.schedule["n"]
    assert (entry.task, entry.schedule, entry.args) == ("other", crontab(minute=3), (1,))
    assert (entry.last_run_at, entry.total_run_count) == (last, 3)
    second.close()


def test_entries_that_left_the_settings_leave_the_file(new_app: NewApp, path: str) -> None:
    open_scheduler(new_app(beat_schedule=HOURLY), path).close()
    scheduler = open_scheduler(new_app(), path)
    assert scheduler.schedule == {}
    scheduler.close()


def test_what_was_due_meanwhile_is_sent_after_a_restart(new_app: NewApp, path: str) -> None:
    first = open_scheduler(new_app(beat_schedule=HOURLY), path)
    first.schedule["n"].last_run_at = ago(hours=2)
    first.close()
    app = new_app(beat_schedule=HOURLY)
    second = open_scheduler(app, path)
    tick_all(second)
    assert len(sent(app)) == 1
    second.close()


def test_policies_come_from_the_settings(new_app: NewApp, path: str) -> None:
    open_scheduler(new_app(beat_schedule=HOURLY), path).close()
    scheduler = open_scheduler(new_app(beat_schedule={"n": {**HOURLY["n"], "jitter": 4}}), path)
    assert scheduler.schedule["n"].policies.jitter == 4
    scheduler.close()


def test_a_timezone_that_changed_loses_no_run(new_app: NewApp, path: str) -> None:
    last = ago(minutes=5)
    first = open_scheduler(new_app(beat_schedule=HOURLY, timezone="Asia/Tokyo"), path)
    first.schedule["n"].last_run_at = last
    first.close()
    second = open_scheduler(new_app(beat_schedule=HOURLY, timezone="Europe/Rome"), path)
    assert second.schedule["n"].last_run_at == last
    second.close()


def _junk(path: str) -> None:
    for suffix in ("", ".dir", ".dat", ".db"):
        Path(path + suffix).write_bytes(b"junk, and no database")


def _not_entries(path: str) -> None:
    with shelve.open(path) as shelf:
        shelf["entries"] = ["something", "else"]


def _not_pickled(path: str) -> None:
    with dbm.open(path, "c") as database:
        database[b"entries"] = b"\x80\x04torn"


def _unknown_classes(path: str) -> None:
    with dbm.open(path, "c") as database:
        database[b"entries"] = b"cno.such.module\nThing\n)R."


def _empty_file(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize(
    "spoil", [_junk, _not_entries, _not_pickled, _unknown_classes, _empty_file]
)
def test_a_file_that_cannot_be_read_is_set_aside(
    new_app: NewApp,
    path: str,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[str], None],
) -> None:
    spoil(path)
    before = {file.read_bytes() for file in Path(path).parent.iterdir()}
    with caplog.at_level(logging.ERROR):
        scheduler = open_scheduler(new_app(beat_schedule=HOURLY), path)
    scheduler.close()
    if caplog.records:  # Some kinds of databases take an empty file for a new one.
        kept = {file.read_bytes() for file in Path(path).parent.glob("*unreadable*")}
        assert kept == before
        assert "cannot be read" in caplog.text
    else:
        assert spoil is _empty_file
    again = open_scheduler(new_app(beat_schedule=HOURLY), path)
    assert set(again.schedule) == {"n"}
    again.close()


def test_a_directory_that_is_not_there_is_an_error(new_app: NewApp, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        open_scheduler(new_app(), str(tmp_path / "missing" / "schedule"))


def test_the_file_holds_what_celery_reads(new_app: NewApp, path: str) -> None:
    app = new_app(beat_schedule=HOURLY, timezone="Europe/Rome")
    open_scheduler(app, path).close()
    with dbm.open(path, "r") as database:
        assert set(database.keys()) == {b"entries", b"__version__", b"tz", b"utc_enabled"}
        assert b"celery.beat" in database[b"entries"]
        assert b"taskq" not in database[b"entries"]


def test_many_entries_are_written_and_read(new_app: NewApp, path: str) -> None:
    scheduler = open_scheduler(new_app(), path)
    for number in range(1000):
        scheduler.add(name=str(number), task="t", schedule=timedelta(hours=1))
    scheduler.sync()
    stored = scheduler._store["entries"]
    assert len(stored) == 1000
    assert all(type(entry) is ScheduleEntry for entry in stored.values())
    assert stored["7"].schedule == schedule(3600)
    scheduler.close()


def test_a_failure_to_store_does_not_stop_beat(
    new_app: NewApp, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app(beat_schedule=HOURLY)
    scheduler = open_scheduler(app, path)
    scheduler.add(name="local", task="t", schedule=10, args=(lambda: 1,), last_run_at=ago(hours=1))
    with caplog.at_level(logging.ERROR):
        tick_all(scheduler)
    assert "cannot store the schedule" in caplog.text


class Custom(PersistentScheduler):
    """A scheduler of a user."""


def test_the_class_of_the_scheduler_may_be_named(new_app: NewApp, path: str) -> None:
    name = "taskq.beat:Scheduler"
    service = Service(new_app(), scheduler_cls=name, schedule_filename=path, max_interval=7)
    assert type(service.scheduler).__name__ == "Scheduler"
    assert service.scheduler.max_interval == 7
    service = Service(new_app(), scheduler_cls=Custom, schedule_filename=path)
    assert isinstance(service.scheduler, Custom)
    service.scheduler.close()


@pytest.mark.parametrize("group", ["taskq.beat_schedulers", "celery.beat_schedulers"])
def test_packages_may_bring_schedulers(
    new_app: NewApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str
) -> None:
    from taskq.utils import imports

    info = tmp_path / "somebeat-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebeat\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nsome = taskq.beat:Scheduler\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    imports._entry_points.cache_clear()
    try:
        scheduler = Service(new_app(), scheduler_cls="some").get_scheduler()
        assert type(scheduler).__name__ == "Scheduler"
    finally:
        imports._entry_points.cache_clear()
