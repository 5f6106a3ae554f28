"""Workers whose processes come from a fork server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from taskq import TaskQ
from taskq.concurrency.prefork.channel import open_pair
from taskq.concurrency.prefork.child import ChildConfig
from taskq.concurrency.prefork.forkserver import ForkServer
from taskq.exceptions import WorkerLostError
from tests.integration.project import wait_until

CODE = """
import threading
from helper import ANSWER

@app.task
def facts():
    return {"pid": os.getpid(), "threads": threading.active_count(), "answer": ANSWER}

@app.task
def die():
    os._exit(3)
"""
FURTHER = """
from taskq import current_app, shared_task

@shared_task
def expiry():
    return current_app.conf.result_expires
"""


@pytest.fixture
def project(make_project, sqlite_url):
    made = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"worker_pool_restarts": True}
    )
    (made.directory / "helper.py").write_text("ANSWER = 1\n")
    return made


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_life(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project.directory))
    proj = project.proj
    with project.worker("-c", "1", "--pool-start-method", "forkserver") as worker:

        def server() -> int:
            return next(pid for pid in worker.children() if "forkserver" in title(pid))

        first = proj.facts.delay().get(timeout=30)
        assert first["threads"] == 1
        assert first["pid"] in worker.children()
        with pytest.raises(WorkerLostError, match="exitcode 3"):
            proj.die.delay().get(timeout=30)
        second = proj.facts.delay().get(timeout=30)["pid"]
        assert second != first["pid"]

        # The next child needs a server: another one is started.
        gone = server()
        os.kill(gone, signal.SIGKILL)
        with pytest.raises(WorkerLostError):
            proj.die.delay().get(timeout=30)
        assert proj.facts.delay().get(timeout=30)["answer"] == 1
        assert server() != gone

        # New processes have new code, though the server had imported the old.
        (project.directory / "helper.py").write_text("ANSWER = 1234567\n")
        proj.app.control.pool_restart(reply=True, timeout=20, limit=1)
        wait_until(lambda: proj.facts.delay().get(timeout=30)["answer"] == 1234567)

        left = worker.children()
        assert worker.stop() == 0
    assert not any(alive(pid) for pid in left)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_find_what_the_worker_found(project, sqlite_url, method):
    project.in_path = False
    project.directory.joinpath("further.py").write_text(FURTHER)
    options = ("--pool-start-method", method, "-I", "further", "-n", "w@h")
    with project.worker("-c", "1", *options, "--", "result.expires=77"):
        client = TaskQ(broker=sqlite_url, backend=sqlite_url, set_as_current=False)
        client.conf.task_default_queue = project.queue
        assert client.send_task("proj.facts").get(timeout=60)["answer"] == 1
        assert client.send_task("further.expiry").get(timeout=60) == 77


def test_nothing_is_left_of_a_killed_worker(project, monkeypatch):
    monkeypatch.syspath_prepend(str(project.directory))
    worker = project.start_worker("-c", "1", "--pool-start-method", "forkserver")
    project.proj.facts.delay().get(timeout=30)
    children = worker.children()
    assert len(children) == 2
    worker.process.kill()
    worker.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in children))


def test_a_server_that_cannot_start_is_told():
    def start(its_end):
        pid = os.fork()
        if not pid:
            os._exit(1)
        return pid

    server = ForkServer(start)
    config = ChildConfig(0, "x", os.getpid(), "x:y", None, None, None, None)
    ours, its = open_pair()
    with ours, its, pytest.raises(ChildProcessError, match="could not start a pool process"):
        server.fork(config, its, ours.fileno())
