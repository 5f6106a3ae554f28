"""Workers that find a full queue: tasks per second, and what a task costs the processor."""

from __future__ import annotations

from collections.abc import Callable

from tests.benchmarks.benchcpu import group_cpu
from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side

#: Messages for about half a second of work and more.
COUNTS = {"taskq": 10_000, "celery": 1_200}
WORKER = ("-c", "2")


def drain(
    side: Side,
    *options: str,
    task: str = "noop",
    count: int | None = None,
    number: int = 1,
    **fill: object,
) -> Figures:
    """Return tasks/s and processor microseconds per task of workers that find a full queue.

    - options: of the worker.
    - task, fill: as `benchclient.fill` takes them.
    - number: how many workers.
    """
    count = count or COUNTS[side.package]
    begin, end = side.path("begin"), side.path("end")
    side.fill(task, count, begin=begin, end=end, **fill)
    with side.workers(*WORKER, *options, number=number):
        first, last = side.await_mark("begin"), side.await_mark("end")
    return {
        "rate": count / (last["at"] - first["at"]),
        "cpu": (last["cpu"] - first["cpu"]) / count * 1e6,
    }


def add_call(side: Side, *options: str, count: int | None = None) -> Figures:
    """As `drain`, with tasks that have arguments and a result."""
    return drain(side, *options, task="add", args=[1, 2], count=count)


def cost(
    side: Side, *options: str, count: int, children: int = 2, number: int = 1, **fill: int
) -> float:
    """Return the processor microseconds per task of workers that are up when tasks come."""
    with side.workers(*options, "-c", str(children), number=number) as group:
        side.warm_up(group, calls=50 * number)
        before = group_cpu(group)
        side.fill("noop", count, end=side.path("end"), **fill)
        side.await_mark("end")
        side.await_calm(group)
        return (group_cpu(group) - before) / count * 1e6


#: Messages that show what a task costs on a large installation.
SCALE_COUNTS = {"taskq": 8_000, "celery": 2_000}


def scale(make: Callable[[], Side]) -> Figures:
    """Return how much more a task costs on large installations than on a small one.

    - make: makes a side with empty queues. Of Celery it is only measured how that many processes
      get along on this machine.
    """
    side = make()
    count = SCALE_COUNTS[side.package]
    before = cost(side, count=count)
    large = {"workers": cost(make(), number=8, count=count)}
    if side.package == "taskq":
        queues, tasks = 200, 10_000
        names = ",".join([side.queue, *(f"{side.queue}-{number}" for number in range(queues))])
        large |= {
            "children": cost(make(), children=24, count=count),
            "queues": cost(make(), "-Q", names, queues=queues, count=count),
            "tasks": cost(make().with_options(BENCH_TASKS=tasks), variants=500, count=count),
        }
    small = (before + cost(make(), count=count)) / 2
    return {what: each / small for what, each in large.items()}
