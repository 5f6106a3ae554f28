"""What a real worker tells the service manager, read from the socket that systemd would give."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest

from tests.integration.project import wait_until

CODE = """
from taskq.worker.control import control_command

@app.task
def add(x, y):
    return x + y

@control_command()
def jam(state, seconds):
    time.sleep(seconds)
"""


class Manager:
    """The other end of ``NOTIFY_SOCKET``."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.told = []

    def heard(self, *fields):
        """Return whether all of these fields were told, reading what has come meanwhile."""
        while True:
            try:
                text = self.socket.recv(4096, socket.MSG_DONTWAIT).decode()
            except BlockingIOError:
                return set(fields) <= {field for _, field in self.told}
            self.told += [(text, field) for field in text.splitlines()]

    def count(self, field):
        self.heard()
        return sum(1 for _, told in self.told if told == field)

    def hears_nothing(self, seconds=1.5):
        """Return whether nothing is told for so long; a word is due every half second."""
        self.heard()
        before = len(self.told)
        time.sleep(seconds)
        self.heard()
        return len(self.told) == before

    def texts(self):
        self.heard()
        return list(dict.fromkeys(text for text, _ in self.told))


@pytest.fixture
def manager(tmp_path, monkeypatch):
    made = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield made
    made.socket.close()


def test_ready_alive_and_stopping(make_project, sqlite_url, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1") as worker:
        wait_until(lambda: manager.heard("READY=1", "STATUS=consuming"))
        wait_until(lambda: manager.count("WATCHDOG=1") >= 3)
        assert not manager.heard("STOPPING=1")
        project.proj.app.control.broadcast("jam", arguments={"seconds": 6})
        wait_until(manager.hears_nothing)
        told = manager.count("WATCHDOG=1")
        wait_until(lambda: manager.count("WATCHDOG=1") >= told + 3)
        assert worker.stop() == 0
    assert manager.heard("STOPPING=1")
    assert manager.count("READY=1") == 1


def test_a_restart_is_a_reload(make_project, sqlite_url, manager):
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1") as worker:
        wait_until(lambda: manager.count("READY=1") == 1)
        os.kill(worker.pid, signal.SIGHUP)
        wait_until(lambda: manager.count("READY=1") == 2)
        assert manager.heard("RELOADING=1")
        assert any("MONOTONIC_USEC=" in text for text in manager.texts())
        assert not manager.heard("STOPPING=1")
        assert project.proj.add.delay(1, 2).get(timeout=20) == 3


def test_starting_lasts_as_long_as_the_broker_is_away(make_project, manager):
    project = make_project(CODE, broker="redis://127.0.0.1:1/0", backend=None)
    with project.worker("-P", "solo", ready=False) as worker:
        worker.wait_for_log("Cannot connect to")
        wait_until(lambda: manager.heard("EXTEND_TIMEOUT_USEC=30000000"))
        assert not manager.heard("READY=1")
