"""A worker's signals, in a life from start to stop: what Celery's worker sends, ours does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.project import Project

CODE = """
from importlib import import_module

signals = import_module(Celery.__module__.split(".")[0] + ".signals")
NAMES = [
    "celeryd_init", "celeryd_after_setup", "worker_init", "worker_ready",
    "worker_before_create_process", "worker_process_init", "worker_process_shutdown",
    "worker_shutting_down", "worker_shutdown", "after_setup_logger", "after_setup_task_logger",
    "task_received", "task_prerun", "task_success", "task_postrun",
]

def listen(name):
    def note(sender=None, **given):
        # Pools are called differently; all that matters is that it is one.
        told = sender if isinstance(sender, str) else type(sender).__name__
        told = told.replace("AsynPool", "TaskPool")
        given.pop("signal", None)
        with open("signals-" + signals.__name__.split(".")[0], "a") as notes:
            print(name, told, sorted(given), file=notes)

    getattr(signals, name).connect(note, weak=False)

for name in NAMES:
    listen(name)

@app.task(name="add")
def add(x, y):
    return x + y
"""


@pytest.mark.parametrize("options", [("-c", "2"), ("-P", "solo")], ids=["prefork", "solo"])
def test_the_same_signals(
    make_project: Callable[..., Project], redis_url: str, options: tuple[str, ...]
) -> None:
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    project.as_package("celery", "cproj")
    heard = {}
    for command, app in (("taskq", "proj"), ("celery", "cproj")):
        notes = project.directory / f"signals-{command}"
        notes.unlink(missing_ok=True)  # of the apps in this process
        with project.worker(*options, "-n", "w@h", command=command, app=app) as worker:
            assert project.proj.add.delay(1, 2).get(timeout=20) == 3
            worker.stop()
        heard[command] = notes.read_text().splitlines()
    for lines in heard.values():
        # Only some pools of Celery's say good-bye.
        lines[:] = [line for line in lines if "process_shutdown" not in line or "-P" not in options]
    # How many processes begin and end before something else happens is up to the system.
    assert sorted(set(heard["taskq"])) == sorted(set(heard["celery"]))
