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

STARTED = {"ok": "reload started"}
LATER = """

@app.task
def later():
    return [add(1, 2), add.app.main]
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
            assert [reply for found in replies for reply in found.values()] == [STARTED]

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


@pytest.mark.parametrize("how", ["prefork", "threads", "spawn"])
def test_the_module_that_makes_the_app_can_be_reloaded(make_project, sqlite_url, how):
    project = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"worker_pool_restarts": True}
    )
    app, file = project.proj.app, project.directory / "proj.py"
    options = ("--pool-start-method", how) if how == "spawn" else ("-P", how)
    with project.worker("-c", "1", *options):

        def reload(module):
            ((answer,),) = [
                reply.values()
                for reply in app.control.pool_restart(
                    modules=[module], reload=True, reply=True, timeout=20, limit=1
                )
            ]
            return answer

        file.write_text(file.read_text().replace("x + y", "x + y + 1000") + LATER)
        project.directory.joinpath("extra.py").write_text(EXTRA.format(42))
        # The second time a module is there already.
        assert [reload(name) for name in ("proj", "extra", "extra")] == [STARTED] * 3
        wait_until(lambda: app.send_task("proj.add", (1, 2)).get(timeout=20) == 1003)
        # It calls a task by the name in its module, and sends another one with the worker's app.
        assert app.send_task("proj.later").get(timeout=20) == [1003, "proj"]
        assert app.send_task("extra.answer").get(timeout=20) == 42
        # What fails leaves everything as it was.
        file.write_text("raise ValueError('half written')\n")
        assert "half written" in reload("proj")["error"]
        if how != "spawn":
            assert app.send_task("proj.add", (1, 2)).get(timeout=20) == 1003


def test_it_must_be_allowed(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=None)
    with project.worker("-c", "1"):
        replies = project.proj.app.control.pool_restart(reply=True, timeout=20, limit=1)
        (answer,) = replies[0].values()
        assert "worker_pool_restarts" in answer["error"]
