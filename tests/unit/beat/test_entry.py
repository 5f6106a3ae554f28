"""Entries: how they are made, what a run changes, what they are equal in."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from taskq import TaskQ
from taskq.beat import BeatLazyFunc, ScheduleEntry
from taskq.schedules import crontab, schedule
from tests.unit.beat.beat_support import ago

NewApp = Callable[..., TaskQ]


def test_numbers_and_timedeltas_are_schedules(new_app: NewApp) -> None:
    app = new_app()
    assert ScheduleEntry("n", "t", schedule=5, app=app).schedule == schedule(5)
    assert ScheduleEntry("n", "t", schedule=timedelta(minutes=1), app=app).schedule == schedule(60)
    relative = ScheduleEntry("n", "t", schedule=timedelta(hours=1), relative=True, app=app)
    assert relative.schedule.relative


def test_a_run_counts_and_leaves_the_old_entry_alone(new_app: NewApp) -> None:
    entry = ScheduleEntry("n", "t", schedule=5, args=[1], options={"queue": "q"}, app=new_app())
    after = next(entry)  # type: ignore[call-overload]
    assert (entry.total_run_count, after.total_run_count) == (0, 1)
    assert (after.name, after.task, after.args, after.options) == ("n", "t", [1], {"queue": "q"})
    assert after == entry
    assert after.next(ago(days=1)).last_run_at < entry.last_run_at


def test_intervals_keep_their_rhythm_however_late_they_are_sent(new_app: NewApp) -> None:
    last = ago(seconds=27)
    entry = ScheduleEntry("n", "t", schedule=10, last_run_at=last, app=new_app())
    assert entry.next().last_run_at == last + timedelta(seconds=20)


def test_crontabs_count_from_when_they_are_sent(new_app: NewApp) -> None:
    entry = ScheduleEntry("n", "t", schedule=crontab(), last_run_at=ago(hours=1), app=new_app())
    assert abs(entry.next().last_run_at - ago()) < timedelta(seconds=5)


def test_entries_are_equal_in_what_they_do_not_in_when_they_did_it(new_app: NewApp) -> None:
    app = new_app()
    one = ScheduleEntry("n", "t", schedule=5, last_run_at=ago(days=1), app=app)
    assert one == ScheduleEntry("other", "t", schedule=5, app=app)
    assert one != ScheduleEntry("n", "t", schedule=6, app=app)
    assert one != ScheduleEntry("n", "t", schedule=5, args=(1,), app=app)
    assert one != 5


def test_an_update_keeps_the_last_run(new_app: NewApp) -> None:
    app = new_app()
    last = ago(days=1)
    entry = ScheduleEntry("n", "old", schedule=5, last_run_at=last, total_run_count=9, app=app)
    entry.update(ScheduleEntry("n", "new", schedule=7, kwargs={"a": 1}, jitter=3, app=app))
    assert (entry.task, entry.schedule, entry.kwargs) == ("new", schedule(7), {"a": 1})
    assert (entry.last_run_at, entry.total_run_count) == (last, 9)
    assert entry.policies.jitter == 3


@pytest.mark.parametrize("copied", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_copies_are_equal(
    new_app: NewApp, copied: Callable[[ScheduleEntry], ScheduleEntry]
) -> None:
    entry = ScheduleEntry("n", "t", schedule=5, args=(1,), kwargs={"k": 2}, app=new_app())
    again = copied(entry)
    assert again == entry
    assert again.last_run_at == entry.last_run_at


def test_entries_have_an_order_for_the_heap(new_app: NewApp) -> None:
    one, two = (ScheduleEntry("n", "t", schedule=5, app=new_app()) for _ in range(2))
    assert (one < two) != (one > two)
    with pytest.raises(TypeError):
        one < 3


def test_lazy_arguments_call_their_function() -> None:
    lazy = BeatLazyFunc(time.strftime, "%Y", time.gmtime(0))
    assert lazy() == lazy.delay() == "1970"


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"overlap": "maybe"}, "overlap is 'maybe', must be one of 'allow', 'skip', 'queue'"),
        ({"catch_up": "some"}, "catch_up is 'some', must be one of 'none', 'one', 'all'"),
        ({"jitter": "5"}, "jitter is '5', not seconds"),
        ({"jitter": -1}, "jitter is -1, below zero"),
    ],
)
def test_policies_that_there_are_not_are_refused(
    new_app: NewApp, policy: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=f"Periodic task 'n': {message}"):
        ScheduleEntry("n", "t", schedule=5, app=new_app(), **policy)  # type: ignore[arg-type]
