"""What a worker costs while it has little to do: start-up, memory, wakeups, messages for later."""

from __future__ import annotations

import statistics
import subprocess
import time

from tests.benchmarks.benchcpu import group_cpu, group_pss, group_wakeups
from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side, clean_environment, program

#: Seconds a worker is left alone before it is looked at, and for which it is looked at: a heartbeat
#: more or less in these must not count.
SETTLE, WATCH = 1.0, 12.0
#: How often a short command is run, after once to have everything compiled and in memory.
REPEATS = 5


def startup(side: Side) -> Figures:
    """Return milliseconds of importing the app class, of ``--help``, and to the first task."""
    done = side.path("first")
    side.fill("noop", 0, end=done)
    started = time.monotonic()
    with side.workers("-c", "2", lean=False):
        first = side.await_mark("first")["at"] - started
    statement = f"from {side.package} import Celery; Celery"
    return {
        "import": _milliseconds([*program("python"), "-c", statement]),
        "help": _milliseconds([*program(side.package), "--help"]),
        "first": first * 1000,
    }


def _milliseconds(command: list[str]) -> float:
    """Return how long a command takes: the median of a few times."""
    times = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        # Without a timeout: with one, the end is looked for after pauses that double each time.
        subprocess.run(command, env=clean_environment(), check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[1:])


def idle(side: Side) -> Figures:
    """Return MB, processor milliseconds and wakeups per second of a worker with nothing to do."""
    with side.workers("-c", "2", lean=False) as group:
        side.warm_up(group)
        time.sleep(SETTLE)
        cpu, wakeups = group_cpu(group), group_wakeups(group)
        time.sleep(WATCH)
        return {
            "memory": group_pss(group),
            "cpu": (group_cpu(group) - cpu) / WATCH * 1000,
            "wakeups": (group_wakeups(group) - wakeups) / WATCH,
        }


def far_etas(side: Side, count: int) -> Figures:
    """Return what messages that are due in hours do to a worker, and to tasks that are due now.

    ``growth``: MB per 100,000 messages; ``wait``: milliseconds of a round trip while they are
    held, ``before``: and without them.
    """
    with side.workers("-c", "2") as group:
        side.warm_up(group)
        memory = group_pss(group)
        before = side.client("roundtrips", count=100)["p50"]
        side.fill("noop", count, eta_hours=10, end=side.path("taken"))
        side.await_mark("taken")
        side.await_calm(group)
        wait = side.client("roundtrips", count=100)["p50"]
        growth = (group_pss(group) - memory) / count * 100_000
    return {"growth": growth, "wait": wait, "before": before, "slower": wait / before}
