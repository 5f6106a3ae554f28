"""A beat of either side drives workers of the other, and reads the other's schedule file."""

from __future__ import annotations

import dbm
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.integration.beat_support import running_beat
from tests.integration.project import Project, wait_until

MakeProject = Callable[..., Project]

CODE = """
from {package}.schedules import crontab, schedule

@app.task(name="t.note", bind=True)
def note(self, *args):
    with open("ran", "a") as out:
        out.write(repr((args, bool(self.request.headers))) + "\\n")

app.conf.beat_schedule = {{
    "often": {{"task": "t.note", "schedule": 0.5, "args": (1,)}},
    "hourly": {{"task": "t.note", "schedule": 3600.0, "kwargs": {{"a": 1}}}},
    "nightly": {{"task": "t.note", "schedule": crontab("5", "3"), "options": {{"expires": 9}}}},
    "relative": {{"task": "t.note", "schedule": 7200.0, "relative": True}},
}}
"""


def both(make_project: MakeProject, url: str) -> Project:
    """Return a project whose module is there for either package."""
    project = make_project(CODE.format(package="taskq"), broker=url, backend=url)
    header = (project.directory / "proj.py").read_text()
    theirs = header.replace("from taskq", "from celery")
    (project.directory / "celeryproj.py").write_text(theirs)
    return project


SIDES = {"taskq": "proj", "celery": "celeryproj"}


@pytest.mark.parametrize(("beat", "worker"), [("taskq", "celery"), ("celery", "taskq")])
def test_beat_and_worker_of_two_sides(
    make_project: MakeProject, redis_url: str, beat: str, worker: str
) -> None:
    project = both(make_project, redis_url)
    ran = project.directory / "ran"
    with project.worker("-c", "1", command=worker, app=SIDES[worker]):
        with running_beat(project, command=beat, app=SIDES[beat]):
            wait_until(lambda: ran.exists() and ran.read_text().count("\n") > 3)
    assert set(ran.read_text().split("\n")) == {"((1,), True)", ""}


READ = """
import pickle, sys
from {package}.beat import PersistentScheduler
from {module} import app
scheduler = PersistentScheduler(app, schedule_filename="plan")
found = {{
    name: (
        type(e).__module__,
        e.last_run_at.timestamp(),
        e.total_run_count,
        e.task,
        repr(e.schedule),
    )
    for name, e in scheduler.schedule.items()
}}
sys.stdout.buffer.write(pickle.dumps(found))
scheduler.close()
"""


def read(project: Project, side: str) -> dict[str, tuple[object, ...]]:
    """Return what a side finds in the file, in a process of its own."""
    source = READ.format(package=side, module=SIDES[side])
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=project.directory,
        env=project.env,
        capture_output=True,
        check=True,
    )
    found: dict[str, tuple[object, ...]] = pickle.loads(done.stdout)
    return found


@pytest.mark.parametrize(("first", "second"), [("taskq", "celery"), ("celery", "taskq")])
def test_the_schedule_file_of_the_other_side(
    make_project: MakeProject, redis_url: str, first: str, second: str
) -> None:
    project = both(make_project, redis_url)
    with running_beat(project, "-s", "plan", command=first, app=SIDES[first]) as beat:
        beat.wait_for_log("Sending due task often")
        beat.wait_for_log("Sending due task often")
    with dbm.open(str(project.directory / "plan"), "r") as database:
        assert b"taskq" not in database[b"entries"]
    own, other = read(project, first), read(project, second)
    assert set(own) == set(other) >= {"often", "hourly", "nightly", "relative"}
    for name, entry in other.items():
        assert entry[0] == f"{second}.beat"
        assert entry[1:] == own[name][1:]
    assert other["often"][2] >= 1  # type: ignore[operator]


def test_celery_pings_our_beat(make_project: MakeProject, redis_url: str) -> None:
    project = both(make_project, redis_url)
    with running_beat(project, "--enable-remote-control") as beat:
        beat.wait_for_log("beat pidbox: Connected")
        answer = project.run("-A", "celeryproj", "inspect", "ping", "-t", "3", command="celery")
        assert "celerybeat@" in answer.stdout, answer
        assert "pong" in answer.stdout
