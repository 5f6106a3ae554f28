"""``taskq multi`` with real workers in the background."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskq.apps.multi.node import runs
from tests.integration.project import Project, wait_until

CODE = """
@app.task(bind=True)
def whoami(self):
    return self.request.hostname

@app.task
def slow(seconds):
    open("started", "a").write("x")
    time.sleep(seconds)
    return "slept"
"""
FILES = ("--pidfile=%n.pid", "--logfile=%n%I.log")


@pytest.fixture
def project(make_project: Callable[..., Project], sqlite_url: str) -> Iterator[Project]:
    made = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    yield made
    for path in made.directory.glob("*.pid"):
        os.kill(int(path.read_text()), signal.SIGKILL)


def multi(project: Project, command: str, *words: str):
    return project.run("multi", command, *words, *FILES)


def pids(project: Project) -> dict[str, int]:
    return {path.stem: int(path.read_text()) for path in project.directory.glob("*.pid")}


def ready(directory: Path, name: str, times: int = 1) -> None:
    log = directory / f"{name}.log"
    wait_until(lambda: log.exists() and log.read_text().count(" ready.") == times)


OPTIONS = ("-A", "proj", "-l", "INFO", "-P", "solo", "-n", "h", "-P:1", "prefork", "-c:1", "1")


def test_start_restart_stop(project):
    started = multi(project, "start", "2", *OPTIONS)
    assert started.returncode == 0, started.stdout + started.stderr
    assert "> celery1@h: OK" in started.stdout
    for name in ("celery1", "celery2"):
        ready(project.directory, name)
    first = pids(project)
    assert set(first) == {"celery1", "celery2"}
    answered = project.proj.whoami.delay().get(timeout=20)
    assert answered in ("celery1@h", "celery2@h")

    again = multi(project, "restart", "2", *OPTIONS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "> Restarting node celery1@h: OK" in again.stdout
    for name in ("celery1", "celery2"):
        ready(project.directory, name, times=2)
    second = pids(project)
    assert set(second) == set(first)
    assert not set(second.values()) & set(first.values())

    stopped = multi(project, "stopwait", "2", *OPTIONS)
    assert stopped.returncode == 0
    assert pids(project) == {}
    assert not any(runs(pid) for pid in second.values())
    assert "celery1@h: DOWN" in multi(project, "stop", "2", *OPTIONS).stdout


def test_stopwait_lets_tasks_finish_and_kill_does_not(project):
    options = ("w1", "-A", "proj", "-l", "INFO", "-c", "1")
    assert multi(project, "start", *options).returncode == 0
    result = project.proj.slow.delay(2)
    wait_until((project.directory / "started").exists)
    assert multi(project, "stopwait", *options).returncode == 0
    assert result.get(timeout=5) == "slept"

    assert multi(project, "start", *options).returncode == 0
    ready(project.directory, "w1", times=2)
    (pid,) = pids(project).values()
    assert "Sending KILL to node w1@" in multi(project, "kill", *options).stdout
    wait_until(lambda: not runs(pid))
    (project.directory / "w1.pid").unlink()


def test_what_cannot_start_is_told(project):
    failed = multi(project, "start", "w1", "-A", "missing")
    assert failed.returncode == 1
    assert "FAILED" in failed.stdout
    assert "there is no module 'missing'" in failed.stderr


def test_an_app_in_front_is_handed_on(project):
    shown = project.run("-A", "proj", "multi", "show", "w1", *FILES)
    assert "-m taskq --app=proj worker --detach" in shown.stdout
