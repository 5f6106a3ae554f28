"""Workers in control groups of the kernel: its OOM killer, and its limit of processor time.

They need root and a kernel that lets it make groups: with ``TASKQ_CHAOS=long`` only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from taskq.exceptions import WorkerLostError
from tests.integration.project import SCRIPTS, Project

ROOT = Path("/sys/fs/cgroup")
LONG = os.environ.get("TASKQ_CHAOS") == "long"
pytestmark = pytest.mark.skipif(not LONG, reason="makes control groups; TASKQ_CHAOS=long runs it")

CODE = """
@app.task
def hog(megabytes):
    held = [b"x" * 2**20 for _ in range(megabytes)]
    return len(held)

@app.task(acks_late=True, reject_on_worker_lost=True, bind=True)
def late(self, megabytes):
    if self.request.delivery_info["redelivered"]:
        return "came again"
    held = [b"x" * 2**20 for _ in range(megabytes)]
    return len(held)

@app.task
def nap(seconds):
    time.sleep(seconds)
    return "slept"
"""

#: Limits by what they are about, as (parent group, files with their contents): version 2, and 1.
HALF_A_PROCESSOR = (
    ("", {"cpu.max": "50000 100000"}),
    ("cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}),
)
LITTLE_MEMORY = (
    ("", {"memory.max": str(300 * 2**20)}),
    ("memory", {"memory.limit_in_bytes": str(300 * 2**20)}),
)
Limits = tuple[tuple[str, dict[str, str]], tuple[str, dict[str, str]]]
MakeGroup = Callable[[Limits], Path]


@pytest.fixture
def make_group() -> Iterator[MakeGroup]:
    """Make a group with some limits; removed once its processes have ended."""

    def make(limits: Limits) -> Path:
        parent, files = limits[0 if (ROOT / "cgroup.controllers").exists() else 1]
        group = ROOT / parent / f"taskq-test-{os.getpid()}"
        group.mkdir()
        stack.callback(_remove, group)
        for name, value in files.items():
            (group / name).write_text(value)
        return group

    with ExitStack() as stack:
        yield make


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            return group.rmdir()
        except OSError:
            assert time.monotonic() < deadline, (group / "cgroup.procs").read_text()
            time.sleep(0.1)


def command_in(group: Path, project: Project) -> str:
    """Return a program that runs ``taskq`` inside a group."""
    script = project.directory / "limited"
    script.write_text(f'#!/bin/sh\necho $$ > {group}/cgroup.procs\nexec {SCRIPTS / "taskq"} "$@"\n')
    script.chmod(0o755)
    return str(script)


def test_the_kernel_kills_a_child_for_its_memory(make_project, redis_url, make_group):
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    group = make_group(LITTLE_MEMORY)
    proj = project.proj
    with project.worker("-c", "2", command=command_in(group, project)) as worker:
        nap = proj.nap.delay(3)
        with pytest.raises(WorkerLostError, match="SIGKILL"):
            proj.hog.delay(2000).get(timeout=60)
        assert nap.get(timeout=30) == "slept"
        assert proj.late.delay(2000).get(timeout=60) == "came again"
        assert proj.hog.delay(1).get(timeout=30) == 1
        assert worker.process.poll() is None


@pytest.mark.parametrize("options", [(), ("-c", "auto")], ids=["default", "auto"])
def test_as_many_processes_as_the_group_has_processors(
    make_project, sqlite_url, make_group, options
):
    project = make_project(CODE, broker=sqlite_url, backend=None)
    group = make_group(HALF_A_PROCESSOR)
    with project.worker(*options, command=command_in(group, project)) as worker:
        assert "concurrency: 1 (prefork)" in worker.log
