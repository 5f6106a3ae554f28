"""The scheduler: what is due is sent, once, and nothing stops the rest."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.beat import (
    BeatLazyFunc,
    PersistentScheduler,
    ScheduleEntry,
    Scheduler,
    SchedulingError,
)
from taskq.schedules import crontab, rrule, schedstate, schedule
from tests.unit.beat.beat_support import ago, sent, tick_all

NewApp = Callable[..., TaskQ]


def test_what_is_due_is_sent_with_its_arguments_and_the_header(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(
        name="n",
        task="proj.task",
        schedule=10,
        last_run_at=ago(seconds=11),
        args=(1, BeatLazyFunc(max, 2, 3)),
        kwargs={"k": BeatLazyFunc(min, 4, 5)},
        options={"headers": {"mine": 1}, "expires": 60},
    )
    tick_all(scheduler)
    (message,) = sent(app)
    assert message.payload[:2] == [[1, 3], {"k": 4}]
    assert message.headers["task"] == "proj.task"
    assert message.headers["celery_beat_task"] is True
    assert message.headers["mine"] == 1
    assert message.headers["expires"]


def test_registered_tasks_are_sent_with_their_own_options(new_app: NewApp) -> None:
    app = new_app()

    @app.task(name="proj.task", priority=7)
    def task() -> None: ...

    scheduler = Scheduler(app)
    scheduler.add(name="n", task="proj.task", schedule=10, last_run_at=ago(seconds=11))
    tick_all(scheduler)
    (message,) = sent(app)
    assert message.properties["priority"] == 7


def test_a_task_is_sent_once_for_all_times_it_was_missed(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=10, last_run_at=ago(hours=1))
    scheduler.add(name="c", task="t", schedule=crontab(), last_run_at=ago(hours=1))
    tick_all(scheduler)
    assert len(sent(app)) == 2
    assert scheduler.schedule["n"].total_run_count == 1


def test_a_tick_returns_the_time_to_the_next_task_at_most_the_interval(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app(), max_interval=20)
    assert scheduler.tick() == 20
    scheduler.add(name="n", task="t", schedule=60)
    assert scheduler.tick() == 20
    scheduler.add(name="m", task="t", schedule=7)
    assert 6 < scheduler.tick() <= 7


def test_entries_changed_at_run_time_are_seen(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app())
    scheduler.add(name="n", task="t", schedule=60)
    assert scheduler.tick() > 50
    scheduler.schedule["n"] = scheduler.Entry("n", "t", schedule=7, app=scheduler.app)
    assert scheduler.tick() <= 7
    del scheduler.schedule["n"]
    assert scheduler.tick() == scheduler.max_interval
    scheduler.update_from_dict({"m": {"task": "t", "schedule": 3}})
    assert scheduler.tick() <= 3


def test_merging_drops_keeps_and_adds(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app())
    last = ago(days=1)
    scheduler.add(name="stays", task="old", schedule=60, last_run_at=last)
    scheduler.add(name="goes", task="t", schedule=60)
    scheduler.merge_inplace(
        {"stays": {"task": "new", "schedule": 5}, "comes": {"task": "t", "schedule": 5}}
    )
    assert set(scheduler.schedule) == {"stays", "comes"}
    assert scheduler.schedule["stays"].task == "new"
    assert scheduler.schedule["stays"].last_run_at == last


class Broken(schedule):
    """A schedule that fails."""

    def is_due(self, last_run_at: object) -> schedstate:
        raise RuntimeError("cannot say")


def test_entries_that_fail_do_not_stop_the_rest(
    new_app: NewApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(
        name="unsendable", task="t", schedule=10, args=[object()], last_run_at=ago(days=1)
    )
    scheduler.add(name="undecided", task="t", schedule=Broken(10), last_run_at=ago(days=1))
    scheduler.add(name="good", task="good", schedule=10, last_run_at=ago(days=1))
    with caplog.at_level(logging.ERROR):
        tick_all(scheduler)
        tick_all(scheduler)
    assert [message.headers["task"] for message in sent(app)] == ["good"]
    errors = [record.getMessage() for record in caplog.records]
    assert len(errors) == 2
    assert any("Couldn't apply scheduled task unsendable" in error for error in errors)
    assert any("periodic task undecided is due" in error for error in errors)


def gone() -> None:
    """An argument that cannot be computed, for a reason that looks like a network's."""
    raise ConnectionError("not the broker's")


def test_arguments_that_fail_do_not_stop_the_rest(
    new_app: NewApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    last = ago(days=1)
    scheduler.add(name="bad", task="t", schedule=10, args=[BeatLazyFunc(gone)], last_run_at=last)
    scheduler.add(name="good", task="good", schedule=10, last_run_at=last)
    tick_all(scheduler)
    assert [message.headers["task"] for message in sent(app)] == ["good"]
    assert "Couldn't compute the arguments of scheduled task bad" in caplog.text


def test_an_entry_for_which_the_broker_seems_away_does_not_stop_the_rest(
    new_app: NewApp,
) -> None:
    app = new_app()

    @app.task(name="bad")
    def bad() -> None: ...

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("only this one")

    bad.apply_async = refuse
    scheduler = Scheduler(app)
    last = ago(days=1)
    scheduler.add(name="bad", task="bad", schedule=10, last_run_at=last, options={"priority": 0})
    scheduler.add(name="good", task="good", schedule=10, last_run_at=ago(hours=1))
    for _ in range(5):
        scheduler.tick()
    assert [message.headers["task"] for message in sent(app)] == ["good"]


def test_an_error_of_sending_is_raised_by_apply_async(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app())
    entry = scheduler.add(name="n", task="t", schedule=10, args=[object()])
    with pytest.raises(SchedulingError, match="Couldn't apply scheduled task n"):
        scheduler.apply_async(entry)


def test_a_definition_that_makes_no_sense_names_its_entry(new_app: NewApp) -> None:
    app = new_app(beat_schedule={"typo": {"task": "t", "schedul": 5}})
    with pytest.raises(TypeError, match=r"'typo' in beat_schedule.*schedul"):
        Scheduler(app)


def test_expired_results_are_deleted_once_a_day_where_the_backend_needs_it(
    tmp_path: Path,
) -> None:
    app = TaskQ("x", broker="memory://", backend=f"db+sqlite:///{tmp_path}/r.db")

    def entries() -> Any:
        scheduler = PersistentScheduler(app, schedule_filename=str(tmp_path / "schedule"))
        scheduler.close()
        return scheduler.schedule

    entry = entries()["celery.backend_cleanup"]
    assert entry.schedule == crontab("0", "4", "*")
    assert entry.options == {"expires": 12 * 3600}
    app.conf.result_expires = None
    assert "celery.backend_cleanup" not in entries()
    app.close()


def test_a_scheduler_without_a_file_has_the_entries_of_the_settings_and_no_others(
    tmp_path: Path,
) -> None:
    app = TaskQ("x", broker="memory://", backend=f"db+sqlite:///{tmp_path}/r.db")
    assert Scheduler(app).schedule == {}
    for nothing in ({}, [], None):
        app.conf.beat_schedule = nothing
        assert Scheduler(app).schedule == {}
    app.close()


def test_an_entry_object_gets_the_name_it_has_in_the_settings(new_app: NewApp) -> None:
    entry = ScheduleEntry(name="other", task="t", schedule=3)
    schedule = Scheduler(new_app(beat_schedule={"a": entry, "b": entry})).schedule
    assert {name: entry.name for name, entry in schedule.items()} == {"a": "a", "b": "b"}


def test_storing_is_due_after_so_many_tasks(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app(beat_sync_every=2))
    scheduler._do_sync()
    entry = scheduler.add(name="n", task="t", schedule=10)
    assert not scheduler.should_sync()
    scheduler.apply_async(entry)
    assert not scheduler.should_sync()
    scheduler.apply_async(entry)
    # Two tasks were sent: it was stored, and the count began anew.
    assert not scheduler.should_sync()
    assert scheduler._tasks_since_sync == 0


def test_ticks_do_not_look_at_entries_that_are_not_due(new_app: NewApp) -> None:
    """Whatever the number of entries, a tick asks a handful whether they are due."""
    asked = []

    class Counted(schedule):
        def is_due(self, last_run_at: object) -> schedstate:
            asked.append(1)
            return super().is_due(last_run_at)  # type: ignore[arg-type]

    scheduler = Scheduler(new_app())
    for number in range(5000):
        scheduler.add(name=str(number), task="t", schedule=Counted(3600))
    scheduler.add(name="due", task="t", schedule=Counted(3600), last_run_at=ago(hours=2))
    scheduler.populate_heap()
    scheduler.tick()
    asked.clear()
    tick_all(scheduler)
    assert len(asked) < 10


def test_entries_merged_at_run_time_are_due_by_their_new_schedule(new_app: NewApp) -> None:
    scheduler = Scheduler(new_app())
    scheduler.merge_inplace({"n": {"task": "t", "schedule": 60}})
    assert scheduler.tick() > 50
    scheduler.merge_inplace({"n": {"task": "t", "schedule": 7}})
    assert scheduler.tick() <= 7


class OwnComparison(Scheduler):
    """As schedulers of others do it: they say themselves when their entries have changed."""

    changed = False

    def schedules_equal(self, old_schedules: object, new_schedules: object) -> bool:
        if self.changed:
            self.changed = False
            return False
        return super().schedules_equal(old_schedules, new_schedules)


def test_schedulers_with_a_comparison_of_their_own_are_asked(new_app: NewApp) -> None:
    scheduler = OwnComparison(new_app())
    entry = scheduler.add(name="n", task="t", schedule=60)
    assert scheduler.tick() > 50
    entry.schedule = schedule(5, app=scheduler.app)
    assert scheduler.tick() <= 5  # It is the first: asked at every tick.
    scheduler.changed = True
    assert scheduler.tick() <= 5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock by so many seconds."""
    from taskq.schedules import BaseSchedule

    offset = [0.0]
    real = time.time
    now = BaseSchedule.now
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])
    monkeypatch.setattr(BaseSchedule, "now", lambda self: now(self) + timedelta(seconds=offset[0]))

    def set_clock(seconds: float) -> None:
        offset[0] += seconds

    return set_clock


@pytest.mark.parametrize("step", [3600, -3600, 86400 * 365, -86400 * 365])
def test_intervals_take_as_long_as_they_are_whatever_the_clock_is_set_to(
    new_app: NewApp, clock: Callable[[float], None], step: float
) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=60)
    assert scheduler.tick() <= 60
    clock(step)
    assert 55 < scheduler.tick() <= 60
    assert not sent(app)


def test_a_clock_set_forward_over_times_of_a_crontab_sends_it_once(
    new_app: NewApp, clock: Callable[[float], None]
) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=crontab())
    scheduler.tick()
    clock(3600)
    tick_all(scheduler)
    assert len(sent(app)) == 1


def test_a_clock_set_back_a_little_repeats_no_time_of_a_crontab(
    new_app: NewApp, clock: Callable[[float], None]
) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=crontab(), last_run_at=ago(minutes=2))
    tick_all(scheduler)
    assert len(sent(app)) == 1
    clock(-1800)
    # It had been sent until now; the clock gets there in half an hour.
    assert scheduler.tick() == scheduler.max_interval
    assert not sent(app)


def test_a_clock_that_was_far_ahead_does_not_keep_a_crontab_waiting(
    new_app: NewApp, clock: Callable[[float], None]
) -> None:
    scheduler = Scheduler(new_app())
    scheduler.add(name="n", task="t", schedule=crontab())
    scheduler.tick()
    clock(-86400 * 30)
    assert scheduler.tick() <= 60


def test_all_missed_times_are_sent_where_the_entry_says_so(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    last = ago(seconds=35)
    scheduler.add(name="all", task="t", schedule=10, last_run_at=last, catch_up="all")
    tick_all(scheduler)
    assert len(sent(app)) == 3
    assert scheduler.schedule["all"].last_run_at == last + timedelta(seconds=30)


def test_all_missed_times_of_a_crontab(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    now = ago()
    last = now.replace(second=0, microsecond=0) - timedelta(minutes=5)
    scheduler.add(name="all", task="t", schedule=crontab(), last_run_at=last, catch_up="all")
    tick_all(scheduler)
    assert 5 <= len(sent(app)) <= 6  # Six if the minute ended meanwhile.


def test_no_missed_times_are_sent_at_start_where_the_entry_says_so(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    last = ago(seconds=35)
    scheduler.add(name="none", task="t", schedule=10, last_run_at=last, catch_up="none")
    assert scheduler.tick() <= 5
    assert not sent(app)


def test_a_rule_that_is_over_leaves_the_others_to_be_sent(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    last = ago(hours=1)
    rule = rrule("FREQ=DAILY;COUNT=1", last + timedelta(minutes=1))
    scheduler.add(name="once", task="once", schedule=rule, last_run_at=last)
    scheduler.add(name="n", task="t", schedule=60, last_run_at=last)
    tick_all(scheduler)
    assert {message.headers["task"] for message in sent(app)} == {"once", "t"}
    scheduler.schedule["n"].last_run_at = last
    scheduler.populate_heap()
    tick_all(scheduler)
    assert [message.headers["task"] for message in sent(app)] == ["t"]


def test_jitter_keeps_a_task_back_for_a_while(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=3600, last_run_at=ago(hours=1), jitter=1e6)
    assert scheduler.tick() > 0
    assert not sent(app)
    scheduler.add(name="m", task="t", schedule=3600, last_run_at=ago(hours=1), jitter=1e-6)
    time.sleep(0.001)
    tick_all(scheduler)
    assert len(sent(app)) == 1


def test_jitter_is_the_same_in_every_beat(new_app: NewApp) -> None:
    last = ago(seconds=60)
    waits = set()
    for _ in range(2):
        scheduler = Scheduler(new_app())
        scheduler.add(name="n", task="t", schedule=60, last_run_at=last, jitter=1e6)
        (entry,) = scheduler
        waits.add(round(scheduler._holds.wait(entry) / 1000))
    assert len(waits) == 1


def test_a_schedule_of_others_that_fails_when_it_is_sent_stops_no_other(new_app: NewApp) -> None:
    class NoDueTime(schedule):
        def due_after(self, last_run_at: object) -> datetime:
            raise RuntimeError("no idea")

    app = new_app()
    scheduler = Scheduler(app)
    for policies in ({"catch_up": "all"}, {"jitter": 5.0}):
        options = {"last_run_at": ago(hours=1), "options": {"priority": 0}, **policies}
        scheduler.add(name=str(policies), task="t", schedule=NoDueTime(60), **options)
    scheduler.add(name="good", task="good", schedule=60, last_run_at=ago(hours=1))
    for _ in range(5):
        scheduler.tick()
    assert [message.headers["task"] for message in sent(app)] == ["good"]
