"""Passwords do not leave the processes that need them, and files are not for everybody to write."""

from __future__ import annotations

import json
import os
import stat

import pytest

from tests.integration.project import wait_until
from tests.integration.redis_support import Server

CODE = """
app.conf.broker_transport_options = {"client_name": "w", "sentinel_kwargs": {"password": "s3cr3t"}}
app.conf.redis_backend_use_ssl = None

@app.task
def fail():
    app.connection_for_read("redis://:%s@127.0.0.1:1/0" % "s3cr3t").ensure_connection(max_retries=1)
"""


SECRET = "hunter2-hunter2"


@pytest.fixture
def redis_url(tmp_path):
    """URL of a Redis that asks for a password."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Server(folder, "--requirepass", SECRET)
    yield server.url.replace("://", f"://:{SECRET}@")
    server.stop()


def test_no_password_is_told(make_project, redis_url):
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    app = project.proj.app
    events = []
    with project.worker("-c", "1", "-E", "-l", "DEBUG", "--statedb", "state") as worker:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": events.append})
            result = project.proj.fail.delay()
            wait_until(result.ready, 30)
            receiver.capture(limit=3, timeout=20)
        inspect = app.control.inspect(timeout=1)
        told = [
            worker.log,
            json.dumps(events, default=str),
            json.dumps([inspect.conf(with_defaults=True), inspect.stats(), inspect.report()]),
            project.run("-A", "proj", "report").stdout,
            str(result.traceback),
            repr(app),
        ]
        assert len(told[2]) > 1000
        for text in told:
            assert SECRET not in text
            assert "s3cr3t" not in text.replace('"s3cr3t"', ""), text
    written = [path for path in project.directory.iterdir() if path.name.startswith("state")]
    assert written
    for path in written:
        assert not path.stat().st_mode & stat.S_IWOTH, path


def test_files_are_not_for_everybody_to_write(make_project, sqlite_url):
    project = make_project("", broker=sqlite_url, backend=sqlite_url)
    umask = os.umask(0)  # nothing is taken away: what is left is what was asked for
    try:
        with project.worker("-c", "1", "--pidfile", "w.pid", "-f", "w.log", "-B", ready=False):
            for name in ("w.pid", "w.log", "taskq.db"):
                wait_until((project.directory / name).exists)
            wait_until(lambda: " ready." in (project.directory / "w.log").read_text(), 30)
            modes = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in project.directory.iterdir()
                if path.is_file() and path.suffix not in {".py"} and path.name != "taskq-0.log"
            }
    finally:
        os.umask(umask)
    # Logs and the schedule are as the umask says; the pidfile and the database go without it.
    assert not modes["w.pid"] & (stat.S_IWOTH | stat.S_IWGRP), modes
    database = [mode for name, mode in modes.items() if name.startswith("taskq.db")]
    assert database
    assert not [mode for mode in database if mode & (stat.S_IRWXG | stat.S_IRWXO)], modes
