"""A pool that grows with the work and shrinks without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.project import Project, wait_until

CODE = """
@app.task
def nap(seconds):
    time.sleep(seconds)
"""


def test_pool_follows_the_work(
    make_project: Callable[..., Project], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_AUTOSCALE_KEEPALIVE", "0.5")
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("--autoscale=4,1", "-n", "a@h") as worker:
        proj = project.proj
        assert len(worker.children()) == 1
        results = [proj.nap.delay(2) for _ in range(6)]
        wait_until(lambda: len(worker.children()) == 4)
        for result in results:
            result.get(timeout=30)
        wait_until(lambda: len(worker.children()) == 1)

        control = proj.app.control
        answers: Any = control.autoscale(2, 2, reply=True, timeout=5, limit=1)
        assert answers == [{"a@h": {"ok": "autoscale now max=2 min=2"}}]
        wait_until(lambda: len(worker.children()) == 2)
        info = control.inspect(timeout=5, limit=1).stats()["a@h"]["autoscaler"]
        assert (info["max"], info["min"], info["current"]) == (2, 2, 2)
        refused = control.autoscale(1, 3, reply=True, timeout=5, limit=1)
        assert "at most max" in refused[0]["a@h"]["error"]


def test_autoscale_must_be_on_to_be_changed(
    make_project: Callable[..., Project], sqlite_url: str
) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1", "-n", "a@h"):
        answers = project.proj.app.control.autoscale(2, 1, reply=True, timeout=5, limit=1)
        assert "--autoscale" in answers[0]["a@h"]["error"]


def test_a_pool_of_one_size_is_told_from_others(
    make_project: Callable[..., Project], sqlite_url: str
) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    refused = project.run("-A", "proj", "worker", "-P", "solo", "--autoscale=4,1")
    assert refused.returncode == 1
    assert "Error: --autoscale needs a pool that can grow" in refused.stderr
    assert "Traceback" not in refused.stderr
    with project.worker("-P", "solo", "-n", "a@h"):
        control = project.proj.app.control
        for command in (control.pool_grow, control.pool_shrink):
            ((answer,),) = [reply.values() for reply in command(1, reply=True, timeout=20, limit=1)]
            assert "whose size never changes" in answer["error"]
