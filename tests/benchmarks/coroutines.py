"""Tasks that wait 10 ms, thousands at a time: coroutines in taskq, greenlets in Celery."""

from __future__ import annotations

from tests.benchmarks import drains
from tests.benchmarks.benchcpu import group_pss
from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side

#: Messages for a second or two of work.
COUNTS = {"taskq": 20_000, "celery": 4_000}
NAP = 0.01
IN_FLIGHT = ("-c", "500")
#: Tasks in flight at once, and how long each of them lasts in seconds.
MANY, LONG = 10_000, 5


def drain(side: Side, number: int = 1) -> Figures:
    """Return tasks/s of so many worker processes that find a full queue of short naps."""
    count = COUNTS[side.package]
    if side.package == "celery":
        pool, task, mark = "gevent", "doze", "mark"
    else:
        # The mark is a coroutine too: it takes its turn behind the naps.
        pool, task, mark = "asyncio", "anap", "amark"
        # A second process takes a while to start beside the first.
        count *= number**2
    return drains.drain(
        side,
        *("-P", pool, *IN_FLIGHT),
        task=task,
        count=count,
        number=number,
        args=[NAP],
        mark=mark,
    )


def in_flight(side: Side) -> Figures:
    """Return MB of one process with `MANY` tasks in flight, and seconds until all have begun."""
    begin, end = side.path("begin"), side.path("end")
    many = side.with_options(BENCH_PREFETCH=1)
    many.fill("anap", MANY, args=[LONG], begin=begin, end=end, mark="amark")
    with many.workers("-P", "asyncio", "-c", str(MANY + 2)) as group:
        first, last = many.await_mark("begin"), many.await_mark("end")
        return {"memory": group_pss(group), "begun": last["at"] - first["at"]}


def latency(side: Side) -> Figures:
    """Return p50 in ms of `await adelay()` to `await result`, and of the blocking client's."""
    with side.workers("-P", "asyncio", *IN_FLIGHT) as group:
        side.warm_up(group)
        figures: Figures = side.client("awaited_roundtrips", count=500)
        return figures
