"""Children of the prefork pool that die, are killed, or are replaced."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, Terminated, WorkerLostError

from taskq import TaskQ
from taskq.concurrency.prefork import TaskPool
from taskq.exceptions import WorkerShutdown
from taskq.signals import worker_process_init
from tests.chaos.test_storms import memory
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob, run, turn_until, wait

MakePool = Callable[..., TaskPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools: list[TaskPool] = []

    def make(children: int = 2, **options: Any) -> TaskPool:
        pool = TaskPool(children, **{"executor": EXECUTOR, **options})
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.terminate()


@pytest.fixture
def pool(make_pool: MakePool) -> TaskPool:
    return make_pool()


def all_up(pool: TaskPool) -> None:
    turn_until(pool, lambda: pool.free_slots() == pool.num_processes)


def start(pool: TaskPool, job: RecordingJob) -> int:
    """Submit a job and return the pid of the child that runs it."""
    pool.submit(job)
    turn_until(pool, lambda: bool(job.pids))
    return job.pids[0]


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- deaths


@pytest.mark.parametrize(
    ("task", "argument", "message"),
    [
        ("exit_now", 3, "Worker exited prematurely: exitcode 3 Job: "),
        ("exit_now", 0, "Worker exited prematurely: exitcode 0 Job: "),
        ("kill_self", signal.SIGKILL, "Worker exited prematurely: signal 9 (SIGKILL) Job: "),
        ("kill_self", signal.SIGALRM, "Worker exited prematurely: signal 14 (SIGALRM) Job: "),
    ],
)
def test_a_death_takes_only_the_running_job(
    pool: TaskPool, task: str, argument: int, message: str
) -> None:
    before = [RecordingJob("add", (1, number)) for number in range(50)]
    victim = RecordingJob(task, (int(argument),))
    after = [RecordingJob("add", (2, number)) for number in range(50)]
    run(pool, *before, victim, *after)
    assert isinstance(victim.lost, WorkerLostError)
    assert str(victim.lost).startswith(message)
    assert [job.value for job in before + after] == [
        *range(1, 51),
        *range(2, 52),
    ]
    assert len(pool.info["processes"]) == 2


def test_children_killed_at_random_lose_nothing_but_what_they_ran(
    make_pool: MakePool, tmp_path: Path
) -> None:
    pool = make_pool(3)
    all_up(pool)
    log = tmp_path / "log"
    jobs = [RecordingJob("append", (str(log), f"<{number}>")) for number in range(3000)]
    for job in jobs:
        pool.submit(job)
    chance = random.Random(7)
    kills = 0
    deadline = time.monotonic() + 60
    while not all(job.done for job in jobs):
        assert time.monotonic() < deadline
        pool.pump(0.1)
        pids = pool.info["processes"]
        if pids and kills < 25 and chance.random() < 0.1:
            os.kill(chance.choice(pids), signal.SIGKILL)
            kills += 1
    ran = Counter(log.read_text().split())
    lost = [job for job in jobs if job.lost is not None]
    assert kills > 5
    assert len(lost) <= kills
    assert max(ran.values()) == 1, "a task ran twice"
    for number, job in enumerate(jobs):
        assert job.calls.count("outcome") + job.calls.count("lost") == 1
        if job.lost is None:
            assert ran[f"<{number}>"] == 1


def test_no_descriptor_leaks_over_many_respawns(pool: TaskPool) -> None:
    all_up(pool)
    run(pool, RecordingJob("exit_now", (0,)))
    all_up(pool)
    before = len(os.listdir("/proc/self/fd"))
    jobs = [RecordingJob("exit_now", (0,)) for _ in range(200)]
    run(pool, *jobs, timeout=100)
    all_up(pool)
    assert len(os.listdir("/proc/self/fd")) == before
    assert all(isinstance(job.lost, WorkerLostError) for job in jobs)


def test_gives_up_when_children_die_at_birth(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("taskq.concurrency.prefork.nursery.LONGEST_PAUSE", 0.1)
    pool = make_pool(1, app=BrokenApp())
    with pytest.raises(WorkerShutdown):
        turn_until(pool, lambda: False, timeout=20)
    assert "10 pool processes in a row died while starting" in caplog.text


class BrokenApp:
    """An app whose worker can't be initialised."""

    conf: dict[str, Any] = {}

    @property
    def loader(self) -> Any:
        raise RuntimeError("no loader")


# -- terminate


def test_terminate_runs_the_cleanup_of_the_task(pool: TaskPool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    job = RecordingJob("cleanup_on_exit", (str(log), 30.0))
    pid = start(pool, job)
    wait_for(log, "begin")
    pool.terminate_job(pid)
    wait(pool, job, timeout=5)
    assert isinstance(job.lost, Terminated)
    assert job.lost.args == (signal.SIGTERM,)
    assert log.read_text() == "begin\ncleanup\n"
    turn_until(pool, lambda: pid not in pool.info["processes"])
    all_up(pool)


@pytest.mark.parametrize("name", ["KILL", "SIGKILL", signal.SIGKILL, "SIGQUIT", "USR2"])
def test_terminate_with_any_signal(pool: TaskPool, name: Any) -> None:
    job = RecordingJob("sleep", (30.0,))
    pid = start(pool, job)
    pool.terminate_job(pid, name)
    wait(pool, job, timeout=5)
    assert isinstance(job.lost, Terminated)


def test_a_task_that_does_not_end_is_killed_in_the_end(
    pool: TaskPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.concurrency.prefork.kill.TERMINATE_GRACE", 0.5)
    log = tmp_path / "log"
    job = RecordingJob("stubborn", (str(log), 30.0))
    start(pool, job)
    wait_for(log, "begin")
    pool.terminate_job(job)
    wait(pool, job, timeout=5)
    assert job.lost.args == (signal.SIGTERM,)


def test_terminating_one_job_spares_those_behind_it(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    log = tmp_path / "log"
    run(pool, *[RecordingJob("append", (str(log), "warm")) for _ in range(30)])
    jobs = [RecordingJob("append", (str(log), f"<{number}>", 0.3)) for number in range(4)]
    for job in jobs:
        pool.submit(job)
    wait_for_all = lambda: wait(pool, *jobs)  # noqa: E731
    turn_until(pool, lambda: jobs[3].calls == ["dispatched"])
    wait_for(log, "<0>")
    pool.terminate_job(jobs[0], "SIGKILL")
    wait_for_all()
    assert isinstance(jobs[0].lost, Terminated)
    assert [job.lost for job in jobs[1:]] == [None] * 3
    assert log.read_text().replace("warm\n", "") == "<0>\n<1>\n<2>\n<3>\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_terminate_never_hits_the_next_task(make_pool: MakePool, signum: int) -> None:
    """Each task is terminated at about the moment it ends."""
    pool = make_pool(1)
    all_up(pool)
    terminated = 0
    for number in range(60):
        job = RecordingJob("spin", (0.002,))
        bystanders = [RecordingJob("spin", (0.001,)) for _ in range(3)]
        for each in (job, *bystanders):
            pool.submit(each)
        pool.flush_dispatch()
        assert job.pids
        time.sleep(number * 0.00005)
        pool.terminate_job(job, signum)
        wait(pool, job, *bystanders)
        assert [each.lost for each in bystanders] == [None] * 3
        terminated += job.lost is not None
    assert terminated


def test_terminating_what_is_not_there_does_nothing(pool: TaskPool) -> None:
    all_up(pool)
    pool.terminate_job(pool.info["processes"][0])
    pool.terminate_job(1, "KILL")
    pool.terminate_job(RecordingJob("noop"))
    job = RecordingJob("pid")
    run(pool, job)
    assert job.value in pool.info["processes"]


# -- limits


def test_soft_limit_raises_inside_the_task(pool: TaskPool) -> None:
    caught = RecordingJob("wait_for_soft_limit", (20.0,), soft_limit=0.2)
    uncaught = RecordingJob("sleep", (20.0,), soft_limit=0.3)
    run(pool, caught, uncaught, timeout=5)
    assert caught.value == "soft"
    assert caught.calls == ["dispatched", "started", "soft limit 0.2", "outcome"]
    assert isinstance(uncaught.error, SoftTimeLimitExceeded)


def test_hard_limit_kills_the_child(pool: TaskPool) -> None:
    job = RecordingJob("sleep", (20.0,), hard_limit=0.3)
    others = [RecordingJob("sleep", (0.01,)) for _ in range(50)]
    started = time.monotonic()
    run(pool, job, *others, timeout=5)
    assert time.monotonic() - started < 3
    assert job.calls == ["dispatched", "started", "hard limit 0.3"]
    turn_until(pool, lambda: job.pids[0] not in pool.info["processes"])
    all_up(pool)
    assert all(other.outcome is not None for other in others)


def test_pool_limits_are_defaults_and_zero_means_none(make_pool: MakePool) -> None:
    pool = make_pool(3, soft_timeout=0.2, timeout=0.5)
    default = RecordingJob("wait_for_soft_limit", (3.0,))
    stubborn = RecordingJob("spin", (3.0,), soft_limit=0)
    unlimited = RecordingJob("sleep", (0.8,), soft_limit=0, hard_limit=0)
    run(pool, default, stubborn, unlimited)
    assert default.value == "soft"
    assert stubborn.calls[-1] == "hard limit 0.5"
    assert unlimited.outcome.kind == 0


def test_soft_limits_never_hit_the_next_task(make_pool: MakePool) -> None:
    pool = make_pool(1)
    for number in range(60):
        first = RecordingJob("spin", (0.01,), soft_limit=0.0085 + number * 0.00005)
        rest = [RecordingJob("spin", (0.003,)) for _ in range(3)]
        run(pool, first, *rest)
        assert all(job.outcome.kind == 0 for job in rest)


# -- replacement


def test_a_child_leaves_after_its_number_of_tasks(make_pool: MakePool) -> None:
    pool = make_pool(2, maxtasksperchild=7)
    jobs = [RecordingJob("pid") for _ in range(200)]
    run(pool, *jobs)
    counts = Counter(job.value for job in jobs)
    assert max(counts.values()) == 7
    assert len(counts) >= 200 // 7
    assert all(job.calls[-1] == "outcome" for job in jobs)
    turn_until(pool, lambda: len(pool.info["processes"]) == 2)


def test_a_child_leaves_when_it_uses_too_much_memory(
    make_pool: MakePool, capfd: pytest.CaptureFixture[str]
) -> None:
    # A child begins with what this process has.
    pool = make_pool(1, max_memory_per_child=memory(os.getpid()) + 150_000)
    small = [RecordingJob("grow_memory", (0,)) for _ in range(5)]
    large = RecordingJob("grow_memory", (300,))
    after = [RecordingJob("grow_memory", (0,)) for _ in range(5)]
    run(pool, *small, large, *after)
    assert {job.value for job in small} == {large.value}
    assert {job.value for job in after}.isdisjoint({large.value})


def test_a_child_that_is_not_ready_in_time_is_replaced(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    hang = tmp_path / "hang"
    hang.touch()

    def hang_while_told(**_: Any) -> None:
        while hang.exists():
            time.sleep(0.05)

    app = TaskQ("slow", broker="memory://", set_as_current=False)
    worker_process_init.connect(hang_while_told)
    try:
        pool = make_pool(1, app=app, proc_alive_timeout=0.3)
        turn_until(pool, lambda: "not ready within 0.3 seconds" in caplog.text)
        hang.unlink()
        all_up(pool)
    finally:
        worker_process_init.disconnect(hang_while_told)
