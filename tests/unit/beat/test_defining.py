"""Periodic tasks added by code: whenever that happens, they are in ``beat_schedule``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from taskq import TaskQ, chain, group
from taskq.beat import Scheduler
from taskq.schedules import crontab
from tests.unit.beat.beat_support import ago, sent, tick_all

NewApp = Callable[..., TaskQ]


@pytest.fixture
def app(unique: str) -> TaskQ:
    """An app whose settings have not been read."""
    app = TaskQ("x", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = unique
    return app


def add_task(app: TaskQ) -> Any:
    @app.task(name="t")
    def task(*args: object, **kwargs: object) -> None: ...

    return task


def test_before_the_settings_are_read(app: TaskQ) -> None:
    task = add_task(app)
    name = app.add_periodic_task(3, task.s(1).set(queue="q"), name="n", expires=5)
    assert name == "n"
    assert app.conf.beat_schedule == {
        "n": {
            "schedule": 3,
            "task": "t",
            "args": (1,),
            "kwargs": {},
            "options": {"queue": "q", "expires": 5},
        }
    }


def test_after_the_app_is_finalized(app: TaskQ) -> None:
    task = add_task(app)
    app.finalize()
    assert app.conf.beat_schedule == {}
    app.add_periodic_task(crontab(), task, args=(2,), kwargs={"k": 1}, name="n")
    assert app.conf.beat_schedule["n"]["args"] == (2,)
    assert app.conf.beat_schedule["n"]["kwargs"] == {"k": 1}


@pytest.mark.parametrize("moment", ["on_after_configure", "on_after_finalize"])
def test_when_the_app_says_that_it_is_ready(app: TaskQ, moment: str) -> None:
    task = add_task(app)

    def add(sender: TaskQ, **kwargs: object) -> None:
        sender.add_periodic_task(10, task.s(), name="n")

    getattr(app, moment).connect(add)
    app.finalize()
    assert "n" in Scheduler(app).schedule


def test_keys_of_the_entry_are_no_options(app: TaskQ) -> None:
    task = add_task(app)
    keys = {"relative": True, "overlap": "skip", "catch_up": "all", "jitter": 3.0}
    app.add_periodic_task(60, task.s(), name="n", queue="q", **keys)
    entry = Scheduler(app).schedule["n"]
    assert entry.options == {"queue": "q"}
    assert entry.schedule.relative
    assert (entry.policies.overlap, entry.policies.catch_up) == ("skip", "all")
    assert entry.policies.jitter == 3.0


def test_the_name_is_the_call_unless_given(app: TaskQ) -> None:
    task = add_task(app)
    assert app.add_periodic_task(3, task.s(1, k=3)) == "t(1, k=3)"
    assert app.add_periodic_task(3, task.s(1), args=(2,), kwargs={"x": 1}) == "t(2, 1, x=1)"


def test_the_later_of_one_name_counts(app: TaskQ) -> None:
    task = add_task(app)
    app.add_periodic_task(3, task.s(), name="n")
    app.add_periodic_task(timedelta(minutes=1), task.s(), name="n")
    assert app.conf.beat_schedule["n"]["schedule"] == timedelta(minutes=1)


def test_entries_of_the_settings_stay(app: TaskQ) -> None:
    task = add_task(app)
    app.conf.beat_schedule = {"set": {"task": "t", "schedule": 1}}
    app.add_periodic_task(3, task.s(), name="added")
    assert set(app.conf.beat_schedule) == {"set", "added"}


def test_apps_do_not_share_entries(app: TaskQ) -> None:
    app.finalize()
    app.add_periodic_task(3, add_task(app).s(), name="mine")
    other = TaskQ("y", broker="memory://", set_as_current=False)
    assert "mine" not in other.conf.beat_schedule


def test_workflows_may_be_entries(app: TaskQ) -> None:
    task = add_task(app)
    app.set_current()
    app.add_periodic_task(60, chain(task.s(1), task.s(2)), name="chain")
    app.add_periodic_task(60, group(task.s(3), task.s(4)), name="group")
    scheduler = Scheduler(app)
    for entry in scheduler.schedule.values():
        entry.last_run_at = ago(hours=1)
    tick_all(scheduler)
    first_arguments = sorted(message.payload[0][0] for message in sent(app))
    assert first_arguments == [1, 3, 4]


def test_signatures_and_tasks_may_stand_in_the_settings(app: TaskQ) -> None:
    task = add_task(app)
    app.set_current()
    app.conf.beat_schedule = {
        "signature": {"task": task.s(1, k=2).set(priority=3), "schedule": 60},
        "more": {"task": task.s(3), "schedule": 60, "args": (4,), "options": {"priority": 5}},
        "fixed": {"task": task.si(5), "schedule": 60, "args": (6,)},
        "task": {"task": task, "schedule": 60, "args": (7,)},
        "group": {"task": group(task.s(8), task.s(9)), "schedule": 60},
    }
    scheduler = Scheduler(app)
    for entry in scheduler.schedule.values():
        entry.last_run_at = ago(hours=1)
    assert scheduler.schedule["signature"].options == {"priority": 3}
    assert scheduler.schedule["more"].options == {"priority": 5}
    tick_all(scheduler)
    calls = sorted(tuple(message.payload[:2]) for message in sent(app))
    assert calls == [
        ([1], {"k": 2}),
        ([4, 3], {}),
        ([5], {}),
        ([7], {}),
        ([8], {}),
        ([9], {}),
    ]
