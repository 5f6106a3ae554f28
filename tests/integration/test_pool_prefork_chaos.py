"""Everything that can happen to a prefork pool at once, at random."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from taskq.concurrency.prefork import TaskPool
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob

JOBS = 1500


class Chaos:
    """Submits jobs and does something unkind to the pool now and then."""

    def __init__(self, pool: TaskPool, log: Path, seed: int) -> None:
        self.pool = pool
        self.log = log
        self.chance = random.Random(seed)
        self.jobs: list[RecordingJob] = []
        self.cancelled: set[int] = set()
        self.unkind = [
            self.kill_child,
            self.terminate_job,
            self.cancel_job,
            self.grow,
            self.shrink,
            self.restart,
        ]

    def job(self, number: int) -> RecordingJob:
        line = f"<{number}>"
        kind = self.chance.random()
        if kind < 0.02:
            return RecordingJob("append", (str(self.log), line, 5.0), hard_limit=0.05)
        if kind < 0.04:
            return RecordingJob("append", (str(self.log), line, 5.0), soft_limit=0.05)
        if kind < 0.1:
            return RecordingJob("append", (str(self.log), line, 0.02))
        if kind < 0.15:
            return RecordingJob("append_all", (str(self.log), line, "x" * 100_000))
        return RecordingJob("append", (str(self.log), line))

    def step(self) -> None:
        if len(self.jobs) < JOBS:
            for _ in range(self.chance.randrange(20)):
                job = self.job(len(self.jobs))
                self.jobs.append(job)
                self.pool.submit(job)
        if self.chance.random() < 0.2:
            self.chance.choice(self.unkind)()
        self.pool.pump(0.05)

    def kill_child(self) -> None:
        pids = self.pool.info["processes"]
        if pids:
            os.kill(self.chance.choice(pids), signal.SIGKILL)

    def terminate_job(self) -> None:
        running = self.pool.jobs()
        if running:
            signum = self.chance.choice(["TERM", "KILL", "QUIT", "USR2"])
            self.pool.terminate_job(self.chance.choice(running).job, signum)

    def cancel_job(self) -> None:
        if self.jobs:
            number = self.chance.randrange(len(self.jobs))
            if self.pool.cancel_pending(self.jobs[number]):
                self.cancelled.add(number)

    def grow(self) -> None:
        if self.pool.num_processes < 5:
            self.pool.grow(1)

    def shrink(self) -> None:
        if self.pool.num_processes > 1:
            self.pool.shrink(1)

    def restart(self) -> None:
        self.pool.restart()

    def over(self) -> bool:
        return len(self.jobs) >= JOBS and all(
            job.done or number in self.cancelled for number, job in enumerate(self.jobs)
        )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_job_ends_once_and_runs_at_most_once(tmp_path: Path, seed: int) -> None:
    log = tmp_path / "log"
    log.touch()
    before = len(os.listdir("/proc/self/fd"))
    pool = TaskPool(3, executor=EXECUTOR, maxtasksperchild=40)
    pool.start()
    chaos = Chaos(pool, log, seed)
    deadline = time.monotonic() + 60
    try:
        while not chaos.over():
            assert time.monotonic() < deadline, [
                (number, job.calls)
                for number, job in enumerate(chaos.jobs)
                if not job.done and number not in chaos.cancelled
            ]
            chaos.step()
        pool.stop()
    finally:
        pool.terminate()
    ran = Counter(log.read_text().split())
    for number, job in enumerate(chaos.jobs):
        ends = [
            call for call in job.calls if call == "outcome" or call.startswith(("lost", "hard"))
        ]
        times = ran[f"<{number}>"]
        assert job.calls.count("dispatched") <= 1
        if number in chaos.cancelled:
            assert (ends, times) == ([], 0)
        else:
            assert len(ends) == 1
            assert times <= 1
            assert times == 1 or job.outcome is None or job.soft_limit is not None
    assert len(os.listdir("/proc/self/fd")) <= before
