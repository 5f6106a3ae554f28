"""``taskq schedule``: what it changes is seen by a beat that runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from tests.integration.beat_support import running_beat
from tests.integration.project import Project, wait_until

MakeProject = Callable[..., Project]

CODE = """
@app.task
def note(*args): ...
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_running_beat_sees_changes(
    make_project: MakeProject,
    redis_url: str,
    request: pytest.FixtureRequest,
    database: str,
    tmp_path: object,
) -> None:
    url = f"sqlite:///{tmp_path}/beat.db"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    conf = {"beat_schedule_database": url, "beat_scheduler": "database"}
    project = make_project(CODE, broker=redis_url, backend=redis_url, conf=conf)

    def schedule(*arguments: str) -> str:
        done = project.run("-A", "proj", "schedule", *arguments)
        assert done.returncode == 0, done
        return str(done.stdout)

    with running_beat(project) as beat:
        schedule("add", "n", "proj.note", "--every", "0.5", "-a", "[1]")
        beat.wait_for_log("Sending due task n", timeout=4)
        for name, *when in (
            ("friday", "--rrule", "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17", "--timezone", "Asia/Tokyo"),
            ("odd-days", "--rrule", "FREQ=DAILY;INTERVAL=2", "--start", "2026-01-01T09:00"),
            ("lamps", "--solar", "sunset", "52.5", "13.4"),
        ):
            schedule("add", name, "proj.note", *when)
        listed = schedule("list")
        assert "n  proj.note  <freq: " in listed
        assert "odd-days  proj.note  <rrule: FREQ=DAILY;INTERVAL=2 since 2026-01-01" in listed
        assert "lamps  proj.note  <solar: sunset at latitude 52.5" in listed
        schedule("pause", "n")
        assert "paused" in schedule("list")
        described = {entry["name"]: entry for entry in json.loads(schedule("list", "--json"))}
        assert described["n"]["paused"]
        assert described["n"]["sent"] >= 1
        assert described["lamps"]["last"] is None
        time.sleep(2)
        count = beat.log.count("Sending due task n")
        time.sleep(1.2)
        assert beat.log.count("Sending due task n") == count
        assert len(schedule("run-now", "n").strip()) == 36
        schedule("resume", "n")
        wait_until(lambda: beat.log.count("Sending due task n") > count)
        schedule("remove", "n")
        assert "n  proj.note" not in schedule("list")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "nope"), "There is no periodic task 'nope'"),
        (("add", "n", "t"), "one of --every, --crontab"),
        (("add", "n", "t", "--crontab", "* *"), "has 2 fields, not five"),
        (("add", "n", "t", "--crontab", "99 * * * *"), "99"),
        (("add", "n", "t", "--every", "0"), "0"),
        (("add", "n", "t", "--every", "3", "--timezone", "UTC"), "is for --crontab and --rrule"),
        (("add", "n", "t", "--rrule", "FREQ=DAILY;INTERVAL=2"), "counted from a start"),
        (("add", "n", "t", "--rrule", "FREQ=DAILY", "--start", "soon"), "soon"),
        (("add", "n", "t", "--solar", "moonrise", "1", "1"), "moonrise"),
        (("add", "n", "t", "--crontab", "0 0 * * *", "--timezone", "No/Where"), "No/Where"),
    ],
)
def test_what_cannot_be_is_refused(
    make_project: MakeProject,
    sqlite_url: str,
    tmp_path: object,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    conf = {"beat_schedule_database": f"sqlite:///{tmp_path}/beat.db"}
    project = make_project(CODE, broker=sqlite_url, backend=None, conf=conf)
    done = project.run("-A", "proj", "schedule", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
