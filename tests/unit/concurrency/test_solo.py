"""The solo pool."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
from kombu.asynchronous import Hub

from taskq.concurrency.solo import TaskPool
from taskq.exceptions import WorkerShutdown
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob


@pytest.fixture
def pool() -> TaskPool:
    pool = TaskPool(4, executor=EXECUTOR)
    pool.start()
    return pool


def test_runs_a_job_at_the_flush(pool: TaskPool) -> None:
    job = RecordingJob("pid")
    pool.submit(job)
    assert job.calls == []
    pool.flush_dispatch()
    assert job.calls == ["dispatched", "started", "outcome"]
    assert job.value == os.getpid()


def test_runs_one_long_job_per_flush_and_several_short_ones() -> None:
    def in_the_second_flush() -> int:
        pool = TaskPool(4, executor=EXECUTOR)
        pool.start()
        jobs = [RecordingJob("noop") for _ in range(20)]
        for job in jobs:
            pool.submit(job)
        pool.flush_dispatch()
        assert [job.done for job in jobs[:2]] == [True, False], "nothing is known about it yet"
        pool.flush_dispatch()
        done = sum(job.done for job in jobs) - 1
        pool.flush()
        assert all(job.done for job in jobs)
        return done

    # A machine that is busy elsewhere may make a short job last long; not each time.
    assert any(1 < in_the_second_flush() < 19 for _ in range(50))


def test_acknowledges_the_batch_first(pool: TaskPool) -> None:
    jobs = [RecordingJob("noop") for _ in range(3)]
    seen: list[list[str]] = []
    pool.before_dispatch = lambda: seen.append([call for job in jobs for call in job.calls])
    pool.submit(jobs[0])
    pool.flush_dispatch()
    assert seen == [["dispatched"]]


def test_nothing_runs_while_acknowledging_fails(pool: TaskPool) -> None:
    def refuse() -> None:
        raise ConnectionError("the broker is away")

    job, taken = RecordingJob("noop"), RecordingJob("noop")
    pool.before_dispatch = refuse
    pool.submit(job)
    with pytest.raises(ConnectionError):
        pool.flush_dispatch()
    pool.before_dispatch = lambda: None
    pool.submit(taken)
    pool.flush_dispatch()
    assert job.calls == ["dispatched", "started", "outcome"]
    assert pool.cancel_pending(taken) is True


def test_acknowledging_may_take_jobs_out_of_the_batch(pool: TaskPool) -> None:
    job = RecordingJob("noop")
    pool.before_dispatch = lambda: print(pool.cancel_pending(job))
    pool.submit(job)
    pool.flush()
    assert job.calls == ["dispatched"]


def test_system_exit_of_a_task_does_not_end_the_worker(pool: TaskPool) -> None:
    job = RecordingJob("system_exit", (3,))
    pool.submit(job)
    pool.flush()
    assert "exitcode 3." in str(job.lost)


def test_shutdown_of_the_worker_passes_through_a_task(
    pool: TaskPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> Any:
        raise WorkerShutdown(0)

    monkeypatch.setattr("tests.unit.concurrency.pool_support.noop", stop)
    pool.submit(RecordingJob("noop"))
    with pytest.raises(WorkerShutdown):
        pool.flush_dispatch()


def test_takes_jobs_back(pool: TaskPool) -> None:
    jobs = [RecordingJob("noop") for _ in range(3)]
    for job in jobs:
        pool.submit(job)
    assert pool.free_slots() == 0
    assert pool.cancel_pending(jobs[1]) is True
    assert pool.cancel_pending(jobs[1]) is False
    assert pool.take_back() == [jobs[0], jobs[2]]
    assert pool.free_slots() == 1


def test_limits_are_refused_with_a_reason_once(
    pool: TaskPool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        pool.submit(RecordingJob("noop", soft_limit=1.0))
    assert caplog.text.count("The solo pool can't enforce") == 1


def test_default_limits_are_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    TaskPool(1, executor=EXECUTOR, timeout=5)
    assert "the worker's default time limits" in caplog.text


def test_applies_callables(pool: TaskPool) -> None:
    values: list[Any] = []
    pool.apply_async(divmod, (7, 2), {}, callback=values.append)
    assert values == [(3, 1)]


def test_info(pool: TaskPool) -> None:
    assert pool.info == {
        "implementation": "taskq.concurrency.solo:TaskPool",
        "max-concurrency": 1,
        "processes": [os.getpid()],
        "max-tasks-per-child": None,
        "put-guarded-by-semaphore": True,
        "timeouts": (),
    }


def test_follows_a_hub() -> None:
    gc.collect()  # what earlier tests left open must not be closed meanwhile
    before = set(os.listdir("/proc/self/fd"))
    hub = Hub()
    pool = TaskPool(1, executor=EXECUTOR)
    pool.start()
    pool.register_with_event_loop(hub)
    jobs = [RecordingJob("noop") for _ in range(50)]
    for job in jobs:
        pool.submit(job)
    while not all(job.done for job in jobs):
        hub.run_once()
    pool.stop()
    hub.close()
    assert set(os.listdir("/proc/self/fd")) <= before
