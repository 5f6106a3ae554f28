"""taskq beside Celery, and beside other task queues, in one run.

    python -m tests.benchmarks                       # the whole table
    python -m tests.benchmarks --write docs/benchmarks.md
    python -m tests.benchmarks --only drain,results --rounds 1
    python -m tests.benchmarks --peers               # and dramatiq, huey, taskiq, saq, arq, rq

Starts a Redis server of its own; RabbitMQ must run (`BENCH_AMQP`). Every figure is the median of
the rounds, in which the packages take turns; a round in which something fails is told on stderr
and left out.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import services
from tests.benchmarks import peers, report
from tests.benchmarks.catalogue import Brokers, measurements
from tests.benchmarks.rows import Measurement

#: Package -> figure -> one value for each round.
Rounds = dict[str, dict[str, list[float]]]
#: Rounds in which a package may fail before a measurement goes on without it.
FAILURES = 2


def run(measurement: Measurement, rounds: int) -> Rounds:
    """Return the figures of all rounds of a measurement, by package.

    Who fails twice is not tried again, which may take minutes each time.
    """
    taken: Rounds = {package: {} for package in measurement.packages}
    failures = Counter[str]()
    for _ in range(min(rounds, measurement.rounds or rounds)):
        for package in measurement.packages:
            if failures[package] == FAILURES:
                continue
            try:
                figures = measurement.measure(package)
            except Exception as exc:
                failures[package] += 1
                print(f"{measurement.name}, {package}: {exc!r}", file=sys.stderr, flush=True)
                continue
            for figure, value in figures.items():
                taken[package].setdefault(figure, []).append(value)
    return taken


def run_all(chosen: Iterable[Measurement], rounds: int) -> Iterator[report.Line]:
    """Measure, and yield each line when it is there."""
    for measurement in chosen:
        taken = run(measurement, rounds)
        for row in measurement.rows:
            values = {
                package: figures[row.figure]
                for package, figures in taken.items()
                if row.figure in figures
            }
            medians = {package: statistics.median(each) for package, each in values.items()}
            yield report.Line(row, medians, min(map(len, values.values()), default=rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", help="names of measurements, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", action="store_true", help="measure other task queues as well")
    parser.add_argument("--list", action="store_true", help="print the names of the measurements")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this file")
    options = parser.parse_args()
    # Workers and servers end with this process, also when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    amqp = os.environ.get("BENCH_AMQP", services.AMQP_URL)
    started = time.monotonic()
    with ExitStack() as stack:
        redis = stack.enter_context(contextmanager(services.redis)())
        every = measurements(Brokers(redis, amqp))
        folder = stack.enter_context(peers.installed()) if options.peers else None
        if folder is not None:
            every += peers.measurements(redis, folder)
        names = options.only.split(",") if options.only else [each.name for each in every]
        unknown = set(names) - {each.name for each in every}
        if unknown or options.list:
            print("measurements:", ", ".join(each.name for each in every))
            raise SystemExit(f"no such measurement: {', '.join(unknown)}" if unknown else 0)
        lines: list[report.Line] = []
        for line in run_all([each for each in every if each.name in names], options.rounds):
            lines.append(line)
            print(line.text(), flush=True)
            if options.write:
                # Line by line: what is measured is not lost when the run is interrupted.
                report.write(options.write, lines, rounds=options.rounds, peers=folder)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} minutes, median of {options.rounds}")


if __name__ == "__main__":
    main()
