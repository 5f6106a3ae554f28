"""The pool interface, and what a third-party pool gets from it."""

from __future__ import annotations

import os
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError

from taskq.concurrency.base import BasePool, apply_target
from taskq.exceptions import WorkerShutdown
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob


class ThirdPartyPool(BasePool):
    """A pool as they are written for Celery."""

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        return apply_target(*args, **kwargs)


def test_a_pool_with_only_on_apply_runs_jobs() -> None:
    pool = ThirdPartyPool(3, executor=EXECUTOR)
    order: list[str] = []
    pool.before_dispatch = lambda: order.append("flushed")
    pool.start()
    job = RecordingJob("add", (2, 2))
    pool.submit(job)
    assert job.calls == ["dispatched", "started", "outcome"]
    assert job.value == 4
    assert order == ["flushed"]
    assert pool.jobs() == []
    assert pool.free_slots() == 3


def test_a_task_that_exits_is_lost_in_such_a_pool() -> None:
    pool = ThirdPartyPool(1, executor=EXECUTOR)
    job = RecordingJob("system_exit", (3,))
    pool.submit(job)
    assert isinstance(job.lost, WorkerLostError)


def test_lists_jobs_between_acceptance_and_end() -> None:
    class Slow(BasePool):
        def on_apply(self, target: Any, args: Any, kwargs: Any, **options: Any) -> None:
            self.options_seen = options

    pool = Slow(2, executor=EXECUTOR)
    job = RecordingJob("noop", soft_limit=1.0, hard_limit=2.0)
    pool.submit(job)
    seen = pool.options_seen
    assert (seen["soft_timeout"], seen["timeout"]) == (1.0, 2.0)
    assert seen["correlation_id"] == job.id
    assert pool.jobs() == []
    seen["accept_callback"](123, 0.0)
    assert [(running.job, running.pid) for running in pool.jobs()] == [(job, 123)]
    assert pool.free_slots() == 1


def test_life_of_a_pool() -> None:
    calls: list[str] = []

    class Pool(BasePool):
        def on_start(self) -> None:
            calls.append("start")

        def on_close(self) -> None:
            calls.append("close")

        def on_stop(self) -> None:
            calls.append("stop")

        def on_terminate(self) -> None:
            calls.append("terminate")

    pool = Pool(limit=2, some="option")
    assert not pool.active
    pool.start()
    assert pool.active
    pool.close()
    assert not pool.active
    pool.stop()
    pool.terminate()
    assert calls == ["start", "close", "stop", "terminate"]
    assert pool.options == {"some": "option"}
    assert pool.info == {
        "implementation": f"{__name__}:Pool",
        "max-concurrency": 2,
    }


def test_what_a_pool_cannot_do_says_so() -> None:
    pool = BasePool()
    with pytest.raises(NotImplementedError, match="does not implement restart"):
        pool.restart()
    with pytest.raises(NotImplementedError, match="does not implement kill_job"):
        pool.terminate_job(1)


def test_apply_target_reports_start_and_value() -> None:
    events: list[Any] = []
    apply_target(
        divmod,
        (7, 2),
        callback=events.append,
        accept_callback=lambda pid, started: events.append(pid),
    )
    assert events == [os.getpid(), (3, 1)]


def test_apply_target_raises_exceptions_and_reports_the_rest() -> None:
    def fail(exc: BaseException) -> None:
        raise exc

    values: list[Any] = []
    with pytest.raises(ValueError):
        apply_target(fail, (ValueError(),), callback=values.append)
    with pytest.raises(WorkerShutdown):
        apply_target(fail, (WorkerShutdown(),), callback=values.append)
    with pytest.raises(SystemExit):
        apply_target(fail, (SystemExit(),), callback=values.append, propagate=(SystemExit,))
    assert values == []
    apply_target(fail, (SystemExit(3),), callback=values.append)
    assert "exitcode 3." in str(values[0].exception)
