"""The thread pool with real threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu.asynchronous import Hub

from taskq.concurrency.thread import TaskPool
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob, run, turn_until, wait

MakePool = Callable[..., TaskPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools: list[TaskPool] = []

    def make(threads: int = 2, **options: Any) -> TaskPool:
        pool = TaskPool(threads, executor=EXECUTOR, **options)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        if pool.active:
            pool.stop()


@pytest.fixture
def pool(make_pool: MakePool) -> TaskPool:
    return make_pool()


def test_runs_jobs_in_this_process(pool: TaskPool) -> None:
    jobs = [RecordingJob("add", (1, number)) for number in range(500)]
    here = RecordingJob("pid")
    run(pool, *jobs, here)
    assert [job.value for job in jobs] == list(range(1, 501))
    assert {tuple(job.calls) for job in jobs} == {("dispatched", "started", "outcome")}
    assert here.value == os.getpid()
    assert here.pids == [os.getpid()]


def test_jobs_hear_everything_in_the_loops_thread(pool: TaskPool) -> None:
    threads: set[threading.Thread] = set()

    class Job(RecordingJob):
        def on_started(self, pid: int, time_started: float) -> None:
            threads.add(threading.current_thread())
            super().on_started(pid, time_started)

        def on_outcome(self, outcome: Any) -> None:
            threads.add(threading.current_thread())
            super().on_outcome(outcome)

    run(pool, *[Job("noop") for _ in range(20)])
    assert threads == {threading.current_thread()}


def test_runs_no_more_at_once_than_allowed(make_pool: MakePool) -> None:
    pool = make_pool(3)
    jobs = [RecordingJob("sleep", (0.05,)) for _ in range(12)]
    most = 0
    for job in jobs:
        pool.submit(job)
    while not all(job.done for job in jobs):
        pool.pump(0.01)
        most = max(most, len(pool.jobs()))
    assert most == 3
    assert pool.info == {
        "implementation": "taskq.concurrency.thread:TaskPool",
        "max-concurrency": 3,
        "threads": 3,
    }


def test_failures_and_system_exits(pool: TaskPool) -> None:
    failing, leaving = RecordingJob("fail", ("no",)), RecordingJob("system_exit", (3,))
    run(pool, failing, leaving)
    assert str(failing.error) == "no"
    assert "exitcode 3." in str(leaving.lost)


def test_follows_a_hub_and_wakes_it(pool: TaskPool) -> None:
    hub = Hub()
    pool.register_with_event_loop(hub)
    # Without a wake-up the hub would wait for a second.
    hub.call_later(30, lambda: None)
    started = time.monotonic()
    for _ in range(5):
        job = RecordingJob("sleep", (0.01,))
        pool.submit(job)
        while not job.done:
            hub.run_once()
    assert time.monotonic() - started < 4
    pool.stop()
    hub.close()


def test_cancels_what_has_not_begun(make_pool: MakePool) -> None:
    pool = make_pool(1)
    jobs = [RecordingJob("sleep", (0.2,)) for _ in range(4)]
    for job in jobs:
        pool.submit(job)
    turn_until(pool, lambda: bool(jobs[0].pids))
    assert pool.free_slots() == 0
    assert pool.cancel_pending(jobs[0]) is False
    assert pool.cancel_pending(jobs[1]) is True
    assert pool.take_back() == jobs[2:]
    wait(pool, jobs[0])
    assert [job.calls for job in jobs[1:]] == [[], [], []]


def test_acknowledging_may_fail_or_take_jobs_out_of_the_batch(pool: TaskPool) -> None:
    def refuse() -> None:
        raise ConnectionError("the broker is away")

    lost, kept = RecordingJob("noop"), RecordingJob("noop")
    pool.before_dispatch = refuse
    pool.submit(lost)
    pool.submit(kept)
    with pytest.raises(ConnectionError):
        pool.flush_dispatch()
    assert lost.calls == kept.calls == ["dispatched"]
    pool.before_dispatch = lambda: print(pool.cancel_pending(lost))
    wait(pool, kept)
    assert lost.calls == ["dispatched"]


def test_stop_finishes_what_was_submitted(make_pool: MakePool) -> None:
    pool = make_pool(2)
    jobs = [RecordingJob("sleep", (0.02,)) for _ in range(10)]
    for job in jobs:
        pool.submit(job)
    pool.close()
    pool.stop()
    assert all(job.outcome is not None for job in jobs)
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolWorker")]


def test_terminate_does_not_wait(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job = RecordingJob("sleep", (0.5,))
    pool.submit(job)
    turn_until(pool, lambda: bool(job.pids))
    started = time.monotonic()
    pool.terminate()
    assert time.monotonic() - started < 0.3


def test_grows_and_shrinks(make_pool: MakePool) -> None:
    pool = make_pool(1)
    pool.grow(2)
    jobs = [RecordingJob("sleep", (0.05,)) for _ in range(6)]
    run(pool, *jobs)
    assert pool.num_processes == pool.info["threads"] == 3
    pool.shrink(2)
    deadline = time.monotonic() + 5
    while pool.info["threads"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with pytest.raises(ValueError, match="has 1 thread"):
        pool.shrink(1)


def test_limits_are_refused_with_a_reason_once(
    pool: TaskPool, caplog: pytest.LogCaptureFixture
) -> None:
    run(pool, *[RecordingJob("noop", soft_limit=1.0, hard_limit=2.0) for _ in range(3)])
    assert caplog.text.count("can't enforce the time limits of task noop") == 1


def test_applies_callables(pool: TaskPool) -> None:
    values: list[Any] = []
    result = pool.apply_async(divmod, (7, 2), callback=values.append)
    result.wait(5)
    assert values == [(3, 1)]


def test_a_running_job_cannot_be_killed(pool: TaskPool) -> None:
    with pytest.raises(NotImplementedError, match="does not implement kill_job"):
        pool.terminate_job(os.getpid())
