"""Runs that are not finished when the next one is due, also if another beat sent them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ, group
from taskq.beat import PersistentScheduler, Scheduler
from taskq.beat.leases import Run
from taskq.beat.stored import DatabaseScheduler
from taskq.exceptions import ImproperlyConfigured
from tests.unit.beat.beat_support import ago, sent, tick_all

NewApp = Callable[..., TaskQ]

SKIP = {"n": {"task": "t", "schedule": 0.05, "overlap": "skip"}}


def test_a_run_is_left_out_while_the_last_one_has_not_finished(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=0.05, last_run_at=ago(hours=1), overlap="skip")
    tick_all(scheduler)
    (first,) = sent(app)
    time.sleep(0.06)
    tick_all(scheduler)
    assert not sent(app)
    app.backend.mark_as_done(first.headers["id"], None)
    time.sleep(0.06)
    tick_all(scheduler)
    assert len(sent(app)) == 1


def test_a_run_waits_for_the_last_one(new_app: NewApp) -> None:
    app = new_app()
    scheduler = Scheduler(app)
    scheduler.add(name="n", task="t", schedule=3600, last_run_at=ago(hours=3), overlap="queue")
    tick_all(scheduler)
    (first,) = sent(app)
    scheduler.schedule["n"].last_run_at = ago(hours=3)
    scheduler.schedule["n"].schedule.run_every = timedelta(seconds=1)
    scheduler._heap = None
    assert 0 < scheduler.tick() <= 1
    assert not sent(app)
    app.backend.mark_as_done(first.headers["id"], None)
    scheduler._heap = None
    tick_all(scheduler)
    assert len(sent(app)) == 1


def due_again(scheduler: Any) -> None:
    """Let the entry come due, and have the scheduler look."""
    scheduler.schedule["n"].last_run_at = ago(hours=1)
    scheduler._heap = None
    tick_all(scheduler)


def finish(app: TaskQ, message: Any) -> None:
    """Store the result that a worker would."""
    app.backend.mark_as_done(message.headers["id"], None)


def test_a_group_is_unfinished_until_all_of_it_is(new_app: NewApp) -> None:
    app = new_app(result_expires=None)
    app.set_current()

    @app.task(name="t")
    def task(number: int) -> None: ...

    app.add_periodic_task(60, group(task.s(1), task.s(2)), name="n", overlap="skip")
    scheduler = Scheduler(app)
    due_again(scheduler)
    first, second = sent(app)
    finish(app, first)
    due_again(scheduler)
    assert not sent(app)
    finish(app, second)
    due_again(scheduler)
    assert len(sent(app)) == 2


@pytest.fixture
def restarted(tmp_path: Path, new_app: NewApp) -> Callable[[str], tuple[TaskQ, Any]]:
    """Return a function that makes the scheduler of a kind, which goes on from the last one."""

    def make(kind: str) -> tuple[TaskQ, Any]:
        database = f"sqlite:///{tmp_path}/beat.db"
        app = new_app(beat_schedule=SKIP, beat_schedule_database=database, result_expires=None)
        if kind == "database":
            return app, DatabaseScheduler(app)
        return app, PersistentScheduler(app, schedule_filename=str(tmp_path / "plan"))

    return make


@pytest.mark.parametrize("kind", ["file", "database"])
def test_what_ran_before_a_restart_is_still_running(
    restarted: Callable[[str], tuple[TaskQ, Any]], kind: str
) -> None:
    app, scheduler = restarted(kind)
    due_again(scheduler)
    (first,) = sent(app)
    scheduler.close()
    app, scheduler = restarted(kind)
    due_again(scheduler)
    assert not sent(app)
    finish(app, first)
    due_again(scheduler)
    assert len(sent(app)) == 1
    scheduler.close()


def test_what_another_leader_sent_is_still_running(new_app: NewApp) -> None:
    app = new_app(beat_schedule=SKIP)
    first = Scheduler(app)
    due_again(first)
    (message,) = sent(app)
    run = Run.from_text(first.run_of(first.schedule["n"]).to_text())
    assert run.task_id == message.headers["id"]
    heir = Scheduler(app)
    heir.adopt({"n": run}, None, since=app.now())
    due_again(heir)
    assert not sent(app)
    finish(app, message)
    due_again(heir)
    assert len(sent(app)) == 1


@pytest.mark.parametrize("overlap", ["skip", "queue"])
@pytest.mark.parametrize(
    ("backend", "options", "reason"),
    [
        (None, {}, "no result_backend is set"),
        ("rpc://", {}, "those of rpc:// are for the caller only"),
        ("cache+memory://", {}, "those of quiet are ignored"),
        ("cache+memory://", {"ignore_result": False}, None),
    ],
)
def test_what_waits_for_results_that_never_come_is_refused(
    overlap: str, backend: str | None, options: dict[str, Any], reason: str | None
) -> None:
    app = TaskQ("x", broker="memory://", backend=backend, set_as_current=False)

    @app.task(name="quiet", ignore_result=True)
    def quiet() -> None: ...

    app.conf.beat_schedule = {
        "n": {"task": "quiet", "schedule": 1, "overlap": overlap, "options": options}
    }
    if reason is None:
        assert "n" in Scheduler(app).schedule
        return
    with pytest.raises(ImproperlyConfigured, match=f"'n': overlap='{overlap}' .*{reason}"):
        Scheduler(app)
