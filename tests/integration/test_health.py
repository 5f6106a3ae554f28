"""Health probes of a real worker: the file, the port, with a broker and without."""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest

from tests.integration.project import wait_until


@pytest.fixture
def port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def status(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_worker_that_consumes_is_live_and_ready(make_project, sqlite_url, port):
    project = make_project("", broker=sqlite_url, backend=None)
    alive = project.directory / "alive"
    options = (
        "--health-port",
        str(port),
        "--health-file",
        str(alive),
        "--health-host",
        "127.0.0.1",
    )
    with project.worker("-c", "1", *options) as worker:
        assert status(port, "livez") == 200
        assert status(port, "readyz") == 200
        assert status(port, "other") == 404
        first = alive.stat().st_mtime
        wait_until(lambda: alive.stat().st_mtime > first)
        # A client that says nothing keeps nobody waiting for long.
        with socket.create_connection(("127.0.0.1", port)):
            assert status(port, "livez") == 200
        worker.stop()
    assert not alive.exists()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_without_a_broker_it_is_live_and_not_ready(make_project, port):
    project = make_project("", broker="redis://127.0.0.1:1/0", backend=None)
    alive = project.directory / "alive"
    options = ("--health-port", str(port), "--health-file", str(alive))
    with project.worker("-c", "1", *options, ready=False) as worker:
        worker.wait_for_log("Cannot connect to")
        assert status(port, "livez") == 200
        assert status(port, "readyz") == 503
        first = alive.stat().st_mtime
        wait_until(lambda: alive.stat().st_mtime > first)


def test_the_port_is_free_once_the_worker_was_killed(make_project, sqlite_url, port):
    project = make_project(
        "@app.task\ndef slow():\n    time.sleep(5)\n", broker=sqlite_url, backend=None
    )
    worker = project.start_worker(
        "-c", "1", "--health-port", str(port), "--max-tasks-per-child", "1"
    )
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    time.sleep(0.2)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


JAM = """
from taskq.worker.control import control_command

@control_command()
def jam(state, seconds):
    time.sleep(seconds)
"""


def test_a_loop_that_is_stuck_is_dead(make_project, sqlite_url, port):
    project = make_project(JAM, broker=sqlite_url, backend=None)
    alive = project.directory / "alive"
    options = ("--health-port", str(port), "--health-file", str(alive), "--health-timeout", "1")
    with project.worker("-c", "1", *options):
        assert status(port, "livez") == 200
        project.proj.app.control.broadcast("jam", arguments={"seconds": 8})
        wait_until(lambda: status(port, "livez") == 503)
        assert status(port, "readyz") == 503
        touched = alive.stat().st_mtime
        assert status(port, "livez") == 503
        assert alive.stat().st_mtime == touched
        wait_until(lambda: status(port, "livez") == status(port, "readyz") == 200)


def test_a_broker_that_goes_away_makes_no_worker_dead(make_project, own_redis, port):
    url, start, stop = own_redis
    project = make_project("", broker=url, backend=None)
    options = ("--health-port", str(port), "--health-timeout", "1")
    with project.worker("-c", "1", *options) as worker:
        assert status(port, "readyz") == 200
        stop()
        worker.wait_for_log("Trying again in")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert status(port, "livez") == 200
            assert status(port, "readyz") == 503
            time.sleep(0.1)
        start()
        wait_until(lambda: status(port, "readyz") == 200, timeout=40)


def test_a_worker_that_runs_a_task_itself_lives(make_project, sqlite_url, port):
    project = make_project(
        "@app.task\ndef slow():\n    time.sleep(4)\n    return 1\n",
        broker=sqlite_url,
        backend=sqlite_url,
    )
    with project.worker("-P", "solo", "--health-port", str(port), "--health-timeout", "1"):
        result = project.proj.slow.delay()
        while not result.ready():
            assert status(port, "livez") == 200
            time.sleep(0.2)
