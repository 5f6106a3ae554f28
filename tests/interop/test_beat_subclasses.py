"""Schedulers derived from Celery's: the hooks are there, and called as Celery calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.project import ROOT

#: A scheduler in the manner of those that packages bring: entries from elsewhere, hooks overridden.
SOURCE = """
import json
from datetime import datetime, timedelta, timezone
from {package} import Celery
from {package}.beat import PersistentScheduler, ScheduleEntry, Scheduler, Service
from {package}.schedules import crontab, schedule, schedstate

app = Celery("x", broker="memory://", backend="cache+memory://")
app.conf.update(beat_sync_every=2, beat_max_loop_interval=40, timezone="Europe/Rome")
app.conf.beat_schedule = {{"conf": {{"task": "conf", "schedule": 3600.0}}}}
calls = []
long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Entry(ScheduleEntry):
    @classmethod
    def from_row(cls, row, app):
        return cls(app=app, **row)

    def _default_now(self):
        calls.append(("Entry._default_now", self.name))
        return super()._default_now()

    def __next__(self):
        calls.append(("Entry.next", self.name))
        return super().__next__()


class Mine(Scheduler):
    Entry = Entry

    def setup_schedule(self):
        calls.append("setup_schedule")
        self.install_default_entries(self.schedule)
        self.update_from_dict(self.app.conf.beat_schedule)
        row = dict(name="row", task="row", schedule=60.0, last_run_at=long_ago, args=(1,))
        self.schedule["row"] = Entry.from_row(row, self.app)

    def is_due(self, entry):
        calls.append(("is_due", entry.name))
        return super().is_due(entry)

    def reserve(self, entry):
        calls.append(("reserve", entry.name))
        return super().reserve(entry)

    def apply_entry(self, entry, producer=None):
        calls.append(("apply_entry", entry.name, producer is not None))
        return super().apply_entry(entry, producer=producer)

    def apply_async(self, entry, producer=None, advance=True, **kwargs):
        calls.append(("apply_async", entry.name, advance, sorted(kwargs)))
        return super().apply_async(entry, producer=producer, advance=advance, **kwargs)

    def send_task(self, *args, **kwargs):
        calls.append(("send_task", args[0], list(args[1]), args[2]))
        return super().send_task(*args, **kwargs)

    def sync(self):
        calls.append("sync")

    def close(self):
        calls.append("close")
        super().close()

    @property
    def info(self):
        return "    . mine"


service = Service(app, scheduler_cls=Mine)
lazy = service.get_scheduler(lazy=True)
found = {{"lazy": [list(lazy.schedule), lazy.info, lazy.max_interval, lazy.sync_every_tasks]}}
assert not calls
scheduler = service.scheduler
found["setup"] = [sorted(scheduler.schedule), type(scheduler.schedule["conf"]).__name__]
found["first_tick"] = scheduler.tick()
found["sent"] = list(map(str, calls))
calls.clear()
# Not the same: an interval of ours keeps its rhythm, one of Celery begins anew.
found["second_tick"] = 0 < scheduler.tick() <= 40
row = scheduler.schedule["row"]
found["row"] = [row.total_run_count, type(row).__name__, row.last_run_at > long_ago]
scheduler.merge_inplace({{
    "row": {{"task": "other", "schedule": timedelta(seconds=90), "kwargs": {{"k": 1}}}},
    "new": {{"task": "new", "schedule": crontab(minute="*/5")}},
}})
row = scheduler.schedule["row"]
found["merged"] = [
    sorted(scheduler.schedule), row.task, row.kwargs, row.total_run_count, str(row.schedule)
]
added = scheduler.add(name="added", task="added", schedule=5)
found["added"] = [type(added).__name__, "added" in scheduler.schedule]
scheduler.set_schedule({{"only": added}})
found["set"] = [list(scheduler.get_schedule()), list(scheduler.data)]
found["should_sync"] = []
scheduler._do_sync()
for _ in range(3):
    found["should_sync"].append(bool(scheduler.should_sync()))
    scheduler.apply_async(added, advance=False)
calls.clear()
service.sync()
found["closed"] = [call for call in calls if isinstance(call, str)]
one = ScheduleEntry("n", "t", schedule=schedule(30), app=app, last_run_at=long_ago)
found["entry"] = [sorted(dict(one)), one == ScheduleEntry("m", "t", schedule=30, app=app)]
found["class"] = [Scheduler.max_interval, Scheduler.sync_every, PersistentScheduler.known_suffixes]
print(json.dumps(found, default=str))
"""


def run(package: str, directory: Path) -> dict[str, object]:
    """Return what the scheduler finds with a package."""
    done = subprocess.run(
        [sys.executable, "-c", SOURCE.format(package=package)],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What both packages found."""
    directory = tmp_path_factory.mktemp("sides")
    return {package: run(package, directory) for package in ("taskq", "celery")}


def test_as_in_celery(sides: dict[str, dict[str, object]]) -> None:
    for name, theirs in sides["celery"].items():
        assert sides["taskq"][name] == theirs, name
