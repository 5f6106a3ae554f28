"""Commands that talk to a broker, run as processes beside a worker."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.integration.conftest import Urls
from tests.integration.project import Project

CODE = """
@app.task
def add(x, y):
    return x + y

@app.task
def fail():
    raise KeyError("the reason")
"""


@pytest.fixture
def project(make_project: Callable[..., Project], urls: Urls) -> Project:
    """A project on each broker in turn."""
    backend = "cache+memory://" if urls.backend == "rpc://" else urls.backend
    return make_project(CODE, broker=urls.broker, backend=backend)


@pytest.fixture
def stored(make_project: Callable[..., Project], sqlite_url: str) -> Project:
    """A project whose results any process can read."""
    return make_project(CODE, broker=sqlite_url, backend=sqlite_url)


def test_call_and_result(stored):
    with stored.worker("-c", "1"):
        called = stored.run("-A", "proj", "call", "proj.add", "-a", "[1, 2]")
        assert called.returncode == 0, called.stderr
        task_id = called.stdout.strip()
        assert stored.run("-A", "proj", "result", task_id).stdout == "3\n"
        failing = stored.run("-A", "proj", "call", "proj.fail").stdout.strip()
        failed = stored.run("-A", "proj", "result", failing)
        assert failed.returncode == 1
        assert "KeyError: 'the reason'" in failed.stderr
        trace = stored.run("-A", "proj", "result", failing, "--traceback").stdout
        assert 'raise KeyError("the reason")' in trace


def test_purge(project):
    for _ in range(3):
        project.run("-A", "proj", "call", "proj.add", "-a", "[1, 2]")
    purged = project.run("-A", "proj", "purge", "-f")
    assert purged.stdout == "Purged 3 messages from 1 known task queue.\n", purged.stderr
    assert "No messages purged" in project.run("-A", "proj", "purge", "-f").stdout


def test_purge_of_a_queue_that_does_not_exist(project):
    done = project.run("-A", "proj", "purge", "-f", "-Q", f"nowhere,{project.queue}")
    assert done.returncode == 0, done.stderr
    assert "No messages purged from 2 queues." in done.stdout


def test_bindings(project, urls):
    done = project.run("-A", "proj", "list", "bindings")
    if urls.name == "amqp" and done.returncode:
        assert "management" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert project.queue in done.stdout
    listed = json.loads(project.run("-A", "proj", "list", "bindings", "--json").stdout)
    assert project.queue in [row["queue"] for row in listed]


class TestWorkersAnswer:
    def test_status(self, project):
        nobody = project.run("-A", "proj", "status")
        assert nobody.returncode == 69
        assert "No nodes replied within time constraint" in nobody.stderr
        with project.worker("-c", "1", "-n", "w1@box"):
            done = project.run("-A", "proj", "status")
            assert done.returncode == 0, done.stderr
            assert "->  w1@box: OK" in done.stdout
            assert "1 node online." in done.stdout
            replies = json.loads(project.run("-A", "proj", "status", "--json").stdout)
            assert replies == {"w1@box": {"ok": "pong"}}

    def test_inspect(self, project):
        with project.worker("-c", "1", "-n", "w1@box"):
            done = project.run("-A", "proj", "inspect", "ping", "-d", "w1@box")
            assert "->  w1@box: OK\n        pong" in done.stdout
            registered = project.run("-A", "proj", "inspect", "registered")
            assert "* proj.add" in registered.stdout
            assert project.run("-A", "proj", "inspect", "ping", "-d", "other").returncode == 69

    def test_control(self, project):
        with project.worker("-c", "1", "-n", "w1@box") as worker:
            limited = project.run("-A", "proj", "control", "rate_limit", "proj.add", "10/m")
            assert "new rate limit set successfully" in limited.stdout
            project.run("-A", "proj", "control", "shutdown")
            assert worker.process.wait(20) == 0

    def test_a_mistaken_command(self, stored):
        done = stored.run("-A", "proj", "inspect", "pingg")
        assert done.returncode == 2
        assert "Available inspect commands: active, active_queues" in done.stderr

    def test_lists(self, stored):
        done = stored.run("-A", "proj", "inspect", "--list")
        assert done.returncode == 0
        assert "query_task [id1 [id2 [... [idN]]]]" in done.stdout
        assert "rate_limit" in stored.run("-A", "proj", "control", "--list").stdout
