"""taskq beside Celery, and beside other task queues, in one run.

    python -m tests.benchmarks                       # the whole table
    python -m tests.benchmarks --write docs/benchmarks.md
    python -m tests.benchmarks --only drain,results --rounds 1
    python -m tests.benchmarks --peers               # and dramatiq, huey, taskiq, saq, arq, rq

Starts a Redis server of its own; RabbitMQ must run (`BENCH_AMQP`). Every figure is the median of
the rounds, in which the packages take turns.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests import services
from tests.benchmarks import peers, report
from tests.benchmarks.catalogue import Brokers, measurements
from tests.benchmarks.rows import Figures, Measurement

#: Package -> figure -> one value for each round.
Rounds = dict[str, dict[str, list[float]]]


def run(measurement: Measurement, rounds: int) -> dict[str, Figures]:
    """Return the medians of a measurement, by package."""
    taken: Rounds = {package: {} for package in measurement.packages}
    for _ in range(min(rounds, measurement.rounds or rounds)):
        for package in measurement.packages:
            for figure, value in measurement.measure(package).items():
                taken[package].setdefault(figure, []).append(value)
    return {
        package: {figure: statistics.median(values) for figure, values in figures.items()}
        for package, figures in taken.items()
    }


def run_all(chosen: Iterable[Measurement], rounds: int) -> Iterator[report.Line]:
    """Measure, and yield each line when it is there."""
    for measurement in chosen:
        try:
            medians = run(measurement, rounds)
        except Exception as exc:
            print(f"{measurement.name}: {exc!r}", file=sys.stderr, flush=True)
            medians = {}
        for row in measurement.rows:
            figures = {
                package: medians[package][row.figure]
                for package in measurement.packages
                if row.figure in medians.get(package, ())
            }
            yield report.Line(row, figures, min(rounds, measurement.rounds or rounds))


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
    for redis in services.redis():
        every = measurements(Brokers(redis, amqp))
        if options.peers:
            every += peers.measurements(redis)
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
                report.write(options.write, lines, rounds=options.rounds)
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} minutes, median of {options.rounds}")


if __name__ == "__main__":
    main()
