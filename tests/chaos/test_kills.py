"""Workers are killed, stopped and told to quit at random points under load: what becomes of tasks.

A short form runs always; ``TASKQ_CHAOS=wide`` takes every combination and 8 blows in each,
``TASKQ_CHAOS=long`` 3,000 tasks and 24 blows.
Each run prints its seed; ``TASKQ_CHAOS_SEED`` repeats it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Thread

import pytest

from tests.chaos.fleet import ALWAYS, BLOWS, CODE, SLOTS, Blow, Fleet, new_seed
from tests.chaos.leftovers import left_in_broker
from tests.integration.project import Project, wait_until

FORM = os.environ.get("TASKQ_CHAOS", "short")
LONG = FORM == "long"
TASKS = {"long": 3000, "wide": 400}.get(FORM, 150)
RANDOM_BLOWS = {"long": 22, "wide": 6}.get(FORM, 1)
#: Lease in seconds where the test is not about the default.
LEASE = 2.0
#: Seconds after which a dead worker's messages run elsewhere, by default and at most.
RECOVERY = 15.0
#: Seconds more, if the worker that puts a dead one's messages back dies while it does so.
TAKEOVER = 3.0
#: What a loaded machine may add: a worker starts, tasks in front of the queue run.
MARGIN = 5.0


@dataclass(frozen=True)
class Setup:
    """One way to run taskq."""

    broker: str
    acks: str
    pool: str

    def __str__(self) -> str:
        return f"{self.broker}-{self.acks}-{self.pool}"


ALL = [
    Setup(broker, acks, pool)
    for broker in ("sqlite", "redis", "amqp")
    for acks in ("late", "early")
    for pool in ("prefork", "threads")
]
#: Coroutines on a shared loop.
COROUTINES = [
    Setup(broker, acks, "asyncio")
    for broker in ("sqlite", "redis", "amqp")
    for acks in ("late", "early")
]
#: Every broker with late and with early acknowledgement, and with either pool.
PAIRS = [
    setup
    for setup in ALL
    if (setup.pool == "prefork") == ((setup.broker == "sqlite") == (setup.acks == "late"))
]
#: And of coroutines one with each kind of acknowledgement.
SHORT = [*PAIRS, Setup("redis", "late", "asyncio"), Setup("sqlite", "early", "asyncio")]


@pytest.fixture
def make_fleet(make_project, request, redis_url):
    """Return a function that makes a project with a fleet for a broker."""

    def make(broker: str, *, lease: float = LEASE, **options) -> Fleet:
        url = redis_url if broker == "redis" else request.getfixturevalue(f"{broker}_url")
        project = make_project(
            CODE,
            broker=url,
            backend=redis_url if broker == "amqp" else url,
            conf={"broker_transport_options": {"lease": lease}} if broker != "amqp" else {},
        )
        seed = new_seed()
        print(f"TASKQ_CHAOS_SEED={seed}")
        return Fleet(project, seed, stop_seconds=LEASE + 1.5, **options)

    return make


def tally(fleet: Fleet) -> str:
    logs = "\n".join(worker.log[-3000:] for worker in fleet.workers)
    return f"{fleet.count}\n{logs}"


@pytest.mark.parametrize("setup", SHORT if FORM == "short" else [*ALL, *COROUTINES], ids=str)
@pytest.mark.timeout(120 if FORM == "short" else 900)
def test_random_blows(make_fleet, setup):
    fleet = make_fleet(setup.broker, pool=setup.pool)
    blows = [*ALWAYS, *fleet.chance.choices(BLOWS, k=RANDOM_BLOWS)]
    fleet.chance.shuffle(blows)
    with fleet:
        task = f"{setup.acks}_coroutine" if setup.pool == "asyncio" else setup.acks
        fleet.run(getattr(fleet.project.proj, task), TASKS, blows)
        count = fleet.settle(
            quiet=LEASE + TAKEOVER + MARGIN,
            timeout=45 if FORM == "short" else 300,
            task_restarts=setup.acks == "late",
        )
        if setup.broker == "redis":
            left = left_in_broker(fleet.project.broker, fleet.project.queue)
            count.stranded = left & set(count.unfinished)
        print(count)
        assert not count.stranded, tally(fleet)
        if setup.acks == "late":
            assert_nothing_lost(fleet)
        else:
            assert_nothing_started_twice(fleet)
        fleet.stop()


def assert_nothing_lost(fleet: Fleet) -> None:
    """Late acknowledgement: whatever died, every task ended and its result says so."""
    count = fleet.count
    assert len(count.ends) == count.sent, tally(fleet)
    # The end of a task and its result are two steps. One that died between them runs again.
    fleet.wait_for_states({"SUCCESS"}, timeout=2 * LEASE + MARGIN)


def assert_nothing_started_twice(fleet: Fleet) -> None:
    """Early acknowledgement: a task that began never begins again, so some are lost with a worker.

    A task is acknowledged just before it is handed to the pool. What the pool held at that moment
    dies with it, and nobody is left to write a result if the main process died: at most a task for
    each slot of the pool for each such death. A killed child is seen by its main process, which
    stores the failure; that task is not lost.
    """
    count = fleet.count
    assert not count.doubled, tally(fleet)
    fatal = [blow for blow in count.blows if fleet.takes_main(blow)]
    assert len(count.lost) <= SLOTS * len(fatal), tally(fleet)


@pytest.mark.parametrize("broker", ["sqlite", "redis", "amqp"] if LONG else ["redis"])
def test_a_killed_child_fails_its_early_task_and_no_other(make_fleet, broker):
    fleet = make_fleet(broker)
    blows = [Blow("KILL", "child")] * (30 if LONG else 4)
    with fleet:
        fleet.run(fleet.project.proj.early, TASKS // 2, blows)
        fleet.settle(quiet=5, timeout=60, task_restarts=False)
        print(fleet.count)
        states = fleet.wait_for_states({"SUCCESS", "FAILURE"}, timeout=MARGIN)
        assert not fleet.count.doubled, tally(fleet)
        assert states["FAILURE"] <= len(blows), tally(fleet)
        fleet.stop()


def test_a_dead_workers_messages_run_elsewhere_in_time(redis_url, sqlite_url, tmp_path):
    """With the default lease; on Redis and SQLite at the same time, because it takes that long."""
    recoveries = {}

    def recover(name: str, url: str) -> None:
        directory = tmp_path / name
        directory.mkdir()
        project = Project(directory, CODE, broker=url, backend=url)
        # Both clients are called "proj": import one at a time.
        with Fleet(project, new_seed()) as fleet:
            late = project.proj.late
            fleet.send(late, 60)
            wait_until(lambda: fleet.started() > 5)
            fleet.strike(Blow("KILL", "group"))
            recoveries[name] = fleet.settle(quiet=60, timeout=RECOVERY + MARGIN)
            fleet.stop()
        project.close()

    threads = [
        Thread(target=recover, args=("redis", redis_url)),
        Thread(target=recover, args=("sqlite", sqlite_url)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("redis", "sqlite"):
        count = recoveries[name]
        print(name, count)
        assert len(count.ends) == count.sent, str(count)
        assert count.recovery < RECOVERY + MARGIN
