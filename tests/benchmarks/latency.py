"""How long callers wait: results, workflows, and short tasks beside long ones."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side

#: Seconds that a long task sleeps.
NAP = 0.05


def results(side: Side) -> Figures:
    """Return milliseconds of round trips and of workflows, on a worker with two processes."""
    with side.workers("-c", "2") as group:
        side.warm_up(group)
        trips = side.client("roundtrips", count=400)
        flows = side.client("workflows", group_size=1000, chain_length=100, chord_size=500)
    return {**trips, **flows}


def long_tasks(side: Side) -> Figures:
    """Return the efficiency of eight processes on long tasks, in percent of the ideal."""
    children, count = 8, 240
    spans = _nap(side, children, [NAP] * count)
    taken = max(end for _, _, end in spans) - min(start for _, start, _ in spans)
    return {"efficiency": 100 * count * NAP / children / taken}


def mixed_tasks(side: Side) -> Figures:
    """Return milliseconds until the last short task is done, with two of eight processes free.

    Six tasks of a second are strewn among two hundred of a millisecond.
    """
    lengths = [1.0 if number % 34 == 0 else 0.001 for number in range(206)]
    spans = _nap(side, 8, lengths[:205])
    begin = min(start for _, start, _ in spans)
    return {"short": 1000 * (max(end for length, _, end in spans if length < 1) - begin)}


def _nap(side: Side, children: int, lengths: list[float]) -> list[tuple[float, float, float]]:
    """Have a worker that is up sleep; return length, start and end of each task."""
    log = Path(side.path("naps"))
    with side.workers("-c", str(children)) as group:
        side.warm_up(group, calls=100)
        side.client("naps", log=str(log), lengths=lengths)
        side.await_lines(log, len(lengths))
    lines = log.read_text().splitlines()
    return [tuple(map(float, line.split())) for line in lines]  # type: ignore[misc]
