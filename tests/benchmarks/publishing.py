"""Publishing: one call after the other, and many in one go."""

from __future__ import annotations

from tests.benchmarks.rows import Figures
from tests.benchmarks.sides import Side

#: Seconds of a loop.
LOOP = 1.0


def delay(side: Side) -> Figures:
    """Return messages/s of a ``delay()`` loop."""
    return {"rate": side.client("delay_loop", seconds=LOOP)}


def dispatch(side: Side) -> Figures:
    """Return milliseconds of building and sending a group, and a chord, of a thousand."""
    figures: Figures = side.client("dispatches", group_size=1000, rounds=5)
    return figures


def bulk(side: Side) -> Figures:
    """Return messages/s of a large group, and of a bulk call where there is such a thing."""
    taskq = side.package == "taskq"
    figures = {"group": side.client("group_publish", count=20_000 if taskq else 2_000)}
    if taskq:
        figures["bulk"] = side.client("bulk_publish", count=20_000)
    return figures
