"""Workers and clients at a Redis that can't hold queues, or can't for the moment."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.integration.project import Project, wait_until
from tests.integration.redis_support import Server

CODE = """
@app.task(ignore_result=True)
def note(number):
    with open("notes", "a") as notes:
        notes.write(f"{number}\\n")

@app.task(acks_late=True)
def late(number):
    return number
"""


@pytest.fixture
def start_server(tmp_path):
    """Return a function that starts a Redis server with options; all end with the test."""
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            directory = tmp_path / f"server-{len(options)}"
            directory.mkdir(exist_ok=True)
            server = Server(directory, *options)
            stack.callback(server.stop)
            return server

        yield start


def test_what_workers_and_clients_say(tmp_path, start_server):
    """Of a server that wants a password, a replica, and a part of a cluster."""
    primary = start_server("--requirepass", "sesame")
    replica = start_server("--replicaof", f"127.0.0.1 {primary.port}", "--masterauth", "sesame")
    cluster = start_server("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf")
    said = {
        primary.url: "wants a password: put it into the URL",
        primary.url.replace("://", "://:guess@"): "name or password in the URL is wrong",
        replica.url: f"is a replica of 127.0.0.1:{primary.port}",
        cluster.url: "use a server with cluster mode off",
    }
    with ExitStack() as stack:
        workers = []
        for number, (url, text) in enumerate(said.items()):
            directory = tmp_path / str(number)
            directory.mkdir()
            project = Project(directory, CODE, broker=url, backend=None)
            workers.append((project, project.start_worker("-c", "1", ready=False), text))
            stack.callback(project.close)
        for project, worker, text in workers:
            worker.wait_for_log("Trying again in")
            assert text in worker.log
            assert "Traceback" not in worker.log
            assert "guess@" not in worker.log
        ran = workers[2][0].run("-A", "proj", "call", "proj.late", "-a", "[1]")
        assert ran.returncode != 0
        assert workers[2][2] in " ".join(ran.stderr.split()), ran.stderr


def test_workers_drain_a_server_that_is_full(make_project, start_server):
    """One that runs goes on, one can be started, and what can't be stored yet is not lost."""
    server = start_server()
    project = make_project(CODE, broker=server.url, backend=server.url)
    proj, notes = project.proj, project.directory / "notes"

    def noted():
        return len(notes.read_text().split()) if notes.exists() else 0

    first = project.start_worker("-c", "1")
    assert proj.late.delay(0).get(timeout=20) == 0
    for number in range(10):
        proj.note.apply_async((number,), countdown=3)
    results = [proj.late.apply_async((number,), countdown=3) for number in range(5)]
    with server.client() as client:
        client.config_set("maxmemory", 1)
        wait_until(lambda: noted() == 10, 30)
        second = project.start_worker("-c", "1")
        second.wait_for_log("maxmemory")
        assert first.process.poll() is None, first.log[-3000:]
        assert second.process.poll() is None, second.log[-3000:]
        client.config_set("maxmemory", 0)
    assert [result.get(timeout=60) for result in results] == list(range(5))
    assert proj.late.delay(7).get(timeout=20) == 7
