"""The same blows for taskq and for Celery, on Redis and RabbitMQ, in one run; prints the table that
``docs/reliability.md`` shows.

Run it with ``python -m tests.chaos.compare``; ``--tasks``, ``--blows`` and ``--seed`` set the size.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests import services
from tests.chaos.fleet import CODE, Blow, Count, Fleet, new_seed
from tests.chaos.leftovers import left_in_broker
from tests.integration.project import Project

#: Celery's answer to a dead worker on Redis, in seconds (its default is an hour).
VISIBILITY_TIMEOUT = 8
#: Seconds after the last blow at which a task that has not ended counts as stranded or lost.
PATIENCE = 45.0
#: SIGKILL only: what Celery does with the other signals is a matter of its own settings.
BLOWS = (Blow("KILL", "main"), Blow("KILL", "group"))

HEADINGS = ("Broker", "Acks", "Program", "Lost", "Stranded", "Doubled", "Recovered in")


@dataclass(frozen=True, slots=True)
class Size:
    """How much."""

    tasks: int
    blows: int


@dataclass(frozen=True, slots=True)
class Row:
    """One run and its outcome."""

    broker: str
    acks: str
    program: str
    count: Count

    def cells(self) -> tuple[str, ...]:
        """The table's cells."""
        count = self.count
        complete = len(count.ends) == count.sent
        return (
            self.broker,
            self.acks,
            self.program,
            str(len(count.lost)),
            str(len(count.stranded)),
            str(len(count.doubled)),
            f"{count.recovery:.1f} s" if complete or self.acks == "early" else "not wholly",
        )


@contextmanager
def project(program: str, broker: str, store: str) -> Iterator[Project]:
    """A project of that program in a directory of its own."""
    options = {"visibility_timeout": VISIBILITY_TIMEOUT} if broker.startswith("redis") else {}
    with tempfile.TemporaryDirectory() as directory:
        made = Project(
            Path(directory),
            CODE,
            broker=broker,
            backend=store,
            conf={"broker_transport_options": options},
            package=program,
        )
        try:
            yield made
        finally:
            made.close()


def measure(program: str, broker: str, store: str, acks: str, seed: int, size: Size) -> Count:
    """Run one program under the blows and count."""
    with project(program, broker, store) as made:
        with Fleet(made, seed, command=program) as fleet:
            blows = fleet.chance.choices(BLOWS, k=size.blows)
            fleet.run(getattr(made.proj, acks), size.tasks, blows)
            backlog = size.tasks * 0.05 / 2
            late = acks == "late"
            fleet.settle(quiet=PATIENCE if late else 20, timeout=PATIENCE + backlog)
            fleet.terminate()
            fleet.count.stranded = left_in_broker(broker, made.queue) & set(fleet.count.unfinished)
        return fleet.count


def rows(seed: int, size: Size) -> Iterator[Row]:
    """Measure every combination; each program gets the same seed."""
    for redis in services.redis():
        for amqp in services.amqp():
            for name, broker in (("Redis", redis), ("RabbitMQ", amqp)):
                for acks in ("late", "early"):
                    for program in ("taskq", "celery"):
                        services.empty_redis(redis)
                        count = measure(program, broker, redis, acks, seed, size)
                        print(f"{name} {acks} {program}: {count}", file=sys.stderr, flush=True)
                        yield Row(name, acks, program, count)


def table(measured: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells() for row in measured)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--blows", type=int, default=6)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = new_seed() if given.seed is None else given.seed
    measured = list(rows(seed, Size(given.tasks, given.blows)))
    names = ", ".join(f"{name} {version(name)}" for name in ("taskq", "celery", "kombu", "redis"))
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {names}")
    print(f"{given.tasks} tasks, {given.blows} blows, seed {seed}\n")
    print(table(measured))


if __name__ == "__main__":
    main()
