"""``pool_restart``: new modules, and new code of old ones, in running workers."""

from __future__ import annotations

import pytest

from tests.integration.project import wait_until

CODE = """
@app.task
def add(x, y):
    return x + y
"""
EXTRA = """
from proj import app

@app.task
def answer():
    return {}
"""


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_modules_are_imported_and_reloaded(make_project, sqlite_url, pool, monkeypatch):
    project = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"worker_pool_restarts": True}
    )
    app, extra = project.proj.app, project.directory / "extra.py"
    with project.worker("-c", "1", "-P", pool) as worker:

        def restart(**arguments):
            replies = app.control.pool_restart(reply=True, timeout=20, limit=1, **arguments)
            assert [reply for found in replies for reply in found.values()] == [
                {"ok": "reload started"}
            ]

        before = worker.children()
        extra.write_text(EXTRA.format(42))
        restart(modules=["extra"])
        assert app.send_task("extra.answer").get(timeout=20) == 42
        # Of another length, as Python compares times and sizes of files only.
        extra.write_text(EXTRA.format("'forty-three'"))
        restart(modules=["extra"], reload=True)
        wait_until(lambda: app.send_task("extra.answer").get(timeout=20) == "forty-three")
        assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 3
        if pool == "prefork":
            wait_until(lambda: not set(before) & set(worker.children()))


def test_it_must_be_allowed(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=None)
    with project.worker("-c", "1"):
        replies = project.proj.app.control.pool_restart(reply=True, timeout=20, limit=1)
        (answer,) = replies[0].values()
        assert "worker_pool_restarts" in answer["error"]
