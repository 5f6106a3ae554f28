"""The clock of a worker's machine is wrong, and set: nothing is lost or run twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.fleet import CODE
from tests.integration.project import wait_until

LONG = os.environ.get("TASKQ_CHAOS") == "long"
TASKS = 40
#: Seconds by which the clock is wrong, one after the other.
STEPS = (3 * 3600, -3 * 3600, 0)

#: Python runs this first in each process. What knows of the clock of the wall asks one of these;
#: the clock that leases are measured with can't be set.
SITE = """
import datetime, os, time

def offset():
    with open({path!r}) as file:
        return float(file.read())

class Meta(type):
    def __instancecheck__(cls, value):
        return isinstance(value, real)

class Shifted(datetime.datetime, metaclass=Meta):
    @classmethod
    def now(cls, tz=None):
        return real.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return real.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)

if os.environ.get("CLOCK_IS_WRONG"):
    real, real_time = datetime.datetime, time.time
    time.time = lambda: real_time() + offset()
    datetime.datetime = Shifted
"""


class Clock:
    """The wall clock of the programs that are started while it is `told`."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        (directory / "sitecustomize.py").write_text(SITE.format(path=str(self._file)))
        self.set(0)

    def set(self, offset: float) -> None:
        """Set it so many seconds from the right time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(offset))
        fresh.replace(self._file)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Programs started meanwhile have this clock."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CLOCK_IS_WRONG", "1")
            yield


@pytest.mark.parametrize("urls", ["redis", "sqlite"] if LONG else ["redis"], indirect=True)
def test_the_clock_of_one_worker_jumps(make_project, tmp_path, urls):
    """It begins far ahead of that of another, which holds messages and runs long tasks."""
    clock = Clock(tmp_path)
    options = {"lease": 4, "visibility_timeout": 5} if urls.name == "redis" else {"lease": 4}
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={"broker_transport_options": options},
    )
    proj, ledger = project.proj, project.directory / "ledger"
    with project.worker("-c", "2") as steady:
        results = [proj.late.delay(number, 4) for number in range(3)]
        results += [proj.late.delay(number, 0.1) for number in range(3, TASKS)]
        wait_until(ledger.exists)
        clock.set(STEPS[0])
        with clock.told():
            jumping = project.start_worker("-c", "2")
        for offset in STEPS:
            clock.set(offset)
            time.sleep(1)
        assert [result.get(timeout=60) for result in results] == list(range(TASKS))
        starts = [line.split()[1] for line in ledger.read_text().splitlines() if "start" in line]
        assert sorted(map(int, starts)) == list(range(TASKS))
        wait_until(lambda: len(proj.app.control.ping(timeout=2)) == 2, 20)
        for worker in (jumping, steady):
            assert worker.process.poll() is None
            assert "silent" not in worker.log
        jumping.stop()
