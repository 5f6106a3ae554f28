"""What a tick costs, in calls of functions rather than in time: entries that wait cost nothing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from taskq import TaskQ
from taskq.beat import Scheduler, event_t
from taskq.schedules import crontab
from tests.unit.beat.beat_support import ago

NewApp = Callable[..., TaskQ]

MANY = 100_000
#: Calls that it takes to see that a month has no day that matches.
CALLS_PER_MONTH = 4


class Silent(Scheduler):
    """Does not send: what that costs is up to the broker."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None: ...


def scheduler_with(app: TaskQ, entries: int) -> Scheduler:
    """Return a scheduler of yearly tasks, one of which is due."""
    scheduler = Silent(app)
    yearly = crontab(0, 0, day_of_month=1, month_of_year=1, app=app)
    scheduler.schedule.update(
        {
            str(number): scheduler.Entry(str(number), "t", schedule=yearly, app=app)
            for number in range(entries)
        }
    )
    scheduler.add(name="due", task="t", schedule=3600, last_run_at=ago(hours=2))
    scheduler.populate_heap()
    scheduler._schedule_changed()
    return scheduler


def calls_of(work: Callable[[], Any]) -> int:
    """Return how many functions are called, in Python or in C."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    # What others have called when garbage is collected is not counted.
    gc.disable()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_a_tick_costs_what_a_heap_pop_costs(new_app: NewApp) -> None:
    idle, busy = {}, {}
    for entries in (1, MANY):
        app = new_app(result_expires=None)
        scheduler = scheduler_with(app, entries)
        scheduler.producer
        busy[entries] = calls_of(scheduler.tick)
        assert scheduler.schedule["due"].total_run_count == 1
        idle[entries] = calls_of(scheduler.tick)
    assert idle[MANY] == idle[1]
    # Off the heap and on it again: a few comparisons at each of its levels, which are calls where
    # entries are due at the same time.
    one, other = (event_t(0.0, 5, scheduler.schedule[name]) for name in ("1", "2"))
    comparison = calls_of(lambda: one < other)
    assert busy[MANY] - busy[1] <= 8 * MANY.bit_length() * comparison


def test_the_next_time_is_computed_however_far_it_is(new_app: NewApp) -> None:
    """A search minute by minute takes half a million steps a year; this one, one a month."""
    app = new_app()
    app.now()
    near = crontab(app=app)
    for far in (
        crontab(0, 0, day_of_month=1, month_of_year=1, app=app),
        crontab(0, 0, day_of_month=29, month_of_year=2, app=app),
        crontab(0, 0, day_of_month=29, month_of_year=2, day_of_week="mon", app=app),
    ):
        last = ago()
        near_cost, far_cost = (
            calls_of(lambda cron=cron: cron.due_after(last)) for cron in (near, far)
        )
        # Such a Monday comes every 28 years, or 40 around a century that is no leap year.
        assert far_cost - near_cost < 41 * 12 * CALLS_PER_MONTH
