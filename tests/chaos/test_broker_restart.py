"""The broker itself goes away: a Redis that keeps its data on disk is killed and started again,
and the file of a SQLite broker is deleted or put out of reach while a worker uses it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.chaos.fleet import CODE
from tests.integration.project import wait_until
from tests.services import free_port

LONG = os.environ.get("TASKQ_CHAOS") == "long"
TASKS = 400 if LONG else 60


class DurableRedis:
    """A Redis server of our own that writes every change to disk before it answers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        """Start it and wait until it has loaded its data."""
        self.process = subprocess.Popen(
            f"redis-server --port {self.port} --appendonly yes --appendfsync always".split(),
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        with Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def durable_redis(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    directory = tmp_path / "redis"
    directory.mkdir()
    server = DurableRedis(directory)
    yield server
    server.kill()


def ended(project) -> list[int]:
    path = project.directory / "ledger"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith("end")]


def started(project) -> list[int]:
    path = project.directory / "ledger"
    lines = path.read_text().splitlines() if path.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith("start")]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("name", ["late", "early"] if LONG else ["late"])
def test_redis_is_killed_and_restarted_under_load(make_project, durable_redis, name):
    project = make_project(CODE, broker=durable_redis.url, backend=durable_redis.url)
    task = getattr(project.proj, name)
    with project.worker("-c", "2") as worker:
        for number in range(TASKS):
            task.apply_async((number, 0.02))
        for mark in [TASKS // 2] if not LONG else range(10, TASKS, 100):
            wait_until(lambda mark=mark: len(ended(project)) > mark)
            durable_redis.kill()
            used = cpu_seconds(worker.pid)
            time.sleep(1)
            assert cpu_seconds(worker.pid) - used < 0.5, "busy while the broker was away"
            durable_redis.start()
        wait_until(lambda: set(ended(project)) == set(range(TASKS)), 40, worker.log[-3000:])
        time.sleep(0.5)
        if name == "early":
            assert len(started(project)) == TASKS
        assert worker.process.poll() is None
        assert worker.log.count("Connection to broker lost") >= 1
        # Nothing waits, and all is acknowledged.
        with Redis.from_url(durable_redis.url) as client:
            wait_until(lambda: not client.exists("unacked", project.queue))


@pytest.fixture
def sqlite_project(make_project, tmp_path):
    directory = tmp_path / "store"
    directory.mkdir()
    url = f"sqlite:///{directory / 'taskq.db'}"
    return make_project(CODE, broker=url, backend=url), directory


def test_the_sqlite_file_is_deleted_while_a_worker_runs(sqlite_project):
    project, directory = sqlite_project
    with project.worker("-c", "1") as worker:
        project.proj.late.delay(0, 0)
        wait_until(lambda: ended(project) == [0])
        for path in directory.glob("taskq.db*"):
            path.unlink()
        time.sleep(1.5)
        assert_it_says_so_and_stays_calm(worker)
        send_from_another_process(project)
        wait_until(lambda: ended(project) == [0, 1], 20, worker.log[-3000:])


def send_from_another_process(project) -> None:
    """Send task 1; makes the file anew if it is gone."""
    code = "import proj; proj.late.delay(1, 0)"
    sent = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.directory,
        env=project.env,
        capture_output=True,
        text=True,
    )
    assert sent.returncode == 0, sent.stderr


def test_the_sqlite_file_is_damaged_while_a_worker_runs(sqlite_project):
    project, directory = sqlite_project
    with project.worker("-c", "1") as worker:
        project.proj.late.delay(0, 0)
        wait_until(lambda: ended(project) == [0])
        for path in directory.glob("taskq.db*"):
            if not path.name.endswith("-shm"):
                path.write_bytes(os.urandom(path.stat().st_size))
        project.proj.app.close()
        worker.wait_for_log("is damaged or is not an SQLite database", 30)
        time.sleep(1.5)
        assert_it_says_so_and_stays_calm(worker)
        for path in directory.glob("taskq.db*"):
            path.unlink()
        send_from_another_process(project)
        wait_until(lambda: ended(project) == [0, 1], 30, worker.log[-3000:])


@pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
def test_the_sqlite_file_cannot_be_written_for_a_while(sqlite_project):
    """As when its file system is mounted read-only after an error of the disk."""
    project, _ = sqlite_project
    with project.worker("-c", "1") as worker:
        project.proj.late.delay(0, 0)
        wait_until(lambda: ended(project) == [0])
        with refusing_writes(worker.pid, *worker.children()):
            results = [project.proj.late.delay(number, 0) for number in range(1, 6)]
            worker.wait_for_log("disk I/O error")
            time.sleep(1.5)
            assert_it_says_so_and_stays_calm(worker)
            assert ended(project) == [0]
        assert [result.get(timeout=30) for result in results] == list(range(1, 6))
        assert ended(project) == list(range(6))


@contextmanager
def refusing_writes(*pids: int) -> Iterator[None]:
    """Have what those processes write to the database fail, as on a file system without writing."""
    attached = [part for pid in pids for part in ("-p", str(pid))]
    inject = ["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EROFS"]
    strace = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", *inject, *attached],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert strace.stderr is not None
    for _ in pids:
        assert "attached" in strace.stderr.readline()
    try:
        yield
    finally:
        strace.terminate()
        strace.communicate()


@pytest.mark.skipif(not LONG, reason="the deleted file shows it too; TASKQ_CHAOS=long runs both")
def test_the_sqlite_file_cannot_be_opened_for_a_while(sqlite_project):
    project, directory = sqlite_project
    away = directory.with_name("away")
    with project.worker("-c", "1") as worker:
        project.proj.late.delay(0, 0)
        wait_until(lambda: ended(project) == [0])
        project.proj.late.apply_async((1, 0), countdown=1)
        directory.rename(away)
        time.sleep(1.5)
        assert_it_says_so_and_stays_calm(worker)
        away.rename(directory)
        wait_until(lambda: ended(project) == [0, 1], 30, worker.log[-3000:])


def assert_it_says_so_and_stays_calm(worker) -> None:
    """The worker lives, names the file, does not fill the log and does not spin."""
    assert worker.process.poll() is None, worker.log[-3000:]
    used, size = cpu_seconds(worker.pid), len(worker.log)
    time.sleep(1.5)
    assert cpu_seconds(worker.pid) - used < 0.75, worker.log[-3000:]
    assert len(worker.log) - size < 20_000, worker.log[-3000:]
    assert "taskq.db" in worker.log, worker.log[-3000:]
