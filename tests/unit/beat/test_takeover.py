"""Which of the times that were missed around a change of leaders are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.beat import Scheduler
from taskq.beat.leader import Leadership
from taskq.beat.leases import Run, open_lease
from tests.unit.beat.beat_support import ago, sent, tick_all

#: Seconds.
LEASE, EVERY = 0.5, 0.1


@pytest.fixture
def app(tmp_path: Path) -> Iterator[TaskQ]:
    app = TaskQ("x", broker=f"sqlite:///{tmp_path}/broker.db", set_as_current=False)
    app.conf.beat_schedule = {"n": {"task": "t", "schedule": EVERY}}
    app.conf.beat_leader_lease = LEASE
    yield app
    app.close()


def beat(app: TaskQ) -> tuple[Any, Leadership]:
    scheduler = Scheduler(app)
    return scheduler, Leadership(app, scheduler, LEASE)


def lead(leadership: Leadership) -> None:
    while (wait := leadership.standby()) > 0:
        time.sleep(wait)


def last_run(app: TaskQ) -> Any:
    lease = open_lease(app)
    run = lease.runs()["n"]
    lease.close()
    return run


def assert_none_was_left_out(app: TaskQ, since: Any, heir: tuple[Any, Leadership]) -> None:
    """All times between a run and the takeover are sent once another beat leads."""
    scheduler, standing_by = heir
    time.sleep(3 * EVERY)
    missed = int((app.now() - since.last_run_at).total_seconds() / EVERY)
    lead(standing_by)
    tick_all(scheduler)
    run = last_run(app)
    assert run.total_run_count - since.total_run_count >= missed
    assert len(sent(app)) == run.total_run_count


def test_the_leader_ends_and_the_next_one_looks_a_little_later(app: TaskQ) -> None:
    first, leading = beat(app)
    lead(leading)
    heir = _, standing_by = beat(app)
    assert standing_by.standby() > 0
    time.sleep(LEASE / 2)
    leading.standby()
    assert standing_by.standby() > 0  # it has seen it alive
    tick_all(first)
    since = last_run(app)
    leading.resign()
    assert_none_was_left_out(app, since, heir)


def test_the_leader_dies_as_soon_as_the_next_one_has_begun_to_watch(app: TaskQ) -> None:
    first, leading = beat(app)
    lead(leading)
    heir = _, standing_by = beat(app)
    assert standing_by.standby() > 0
    tick_all(first)
    assert_none_was_left_out(app, last_run(app), heir)


@pytest.mark.parametrize("catch_up", ["one", "none"])
def test_what_was_missed_while_no_beat_ran_is_up_to_the_entry(app: TaskQ, catch_up: str) -> None:
    app.conf.beat_schedule = {"n": {"task": "t", "schedule": 3600, "catch_up": catch_up}}
    lease = open_lease(app)
    lease.seed({"n": Run(ago(hours=3.5), 5)})
    lease.close()
    scheduler, alone = beat(app)
    lead(alone)
    tick_all(scheduler)
    assert len(sent(app)) == (1 if catch_up == "one" else 0)
