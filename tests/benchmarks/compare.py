"""taskq and Celery side by side in one run: throughput, latency, memory and start-up.

    python tests/benchmarks/compare.py [--broker redis|amqp|sqlite] [--tasks N] [--rounds N]
                                       [--only drain,delay,roundtrip,import,help,memory]

Every figure comes from the real command line, in turns (taskq, Celery, taskq, …), and is the
median of the rounds. Machines differ, so the ratio is what counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = Path(sys.executable).parent
PACKAGES = ("taskq", "celery")
BROKERS = {
    "redis": os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/7"),
    "amqp": os.environ.get("BENCH_AMQP", "amqp://guest:guest@127.0.0.1:5672//"),
}


def environment(package: str, broker: str, *, results: bool, directory: str) -> dict[str, str]:
    """Return the environment of one side."""
    url = BROKERS.get(broker) or f"sqlite:///{directory}/bench.db"
    backend = ""
    if results:
        backend = BROKERS["redis"] if broker != "sqlite" else url
    return {
        **clean_environment(),
        "BENCH_PACKAGE": package,
        "BENCH_BROKER": url,
        "BENCH_BACKEND": backend,
        "BENCH_QUEUE": f"bench-{package}",
        "PYTHONPATH": f"{HERE}:{HERE.parent.parent}",
    }


def clean_environment() -> dict[str, str]:
    """Return this environment without what would have modules compiled at every start."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run_python(code: str, env: dict[str, str]) -> str:
    """Run code in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


@contextmanager
def worker(package: str, env: dict[str, str], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of one side while the context lasts."""
    command = [str(SCRIPTS / package), "-A", "benchapp", "worker", "-l", "WARNING", *options]
    if package == "celery":
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    process = subprocess.Popen(
        command, env=env, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


COUNT_QUEUE = """
import benchapp
with benchapp.app.connection_for_read() as connection:
    channel = connection.default_channel
    print(channel.queue_declare(benchapp.app.conf.task_default_queue, passive=False).message_count)
"""
PUBLISH = """
import benchapp, sys, time
task = benchapp.{task}
task.delay()
started = time.perf_counter()
for _ in range({count}):
    task.delay()
print({count} / (time.perf_counter() - started))
"""
PURGE = "import benchapp; print(benchapp.app.control.purge())"
# Sent after the others: when its marker is there, the queue has been worked off.
DRAIN = """
import benchapp, time
from benchapp import app
with app.connection_for_read() as connection:
    channel = connection.default_channel
    name = app.conf.task_default_queue
    def left():
        return channel.queue_declare(name, passive=False).message_count
    total = left()
    while left() >= total:
        time.sleep(0.002)
    started, first = time.perf_counter(), left()
    deadline = started + 120
    while left() > 0:
        if time.perf_counter() > deadline:
            raise SystemExit("the queue was not worked off in 120 s")
        time.sleep(0.002)
    print(first / (time.perf_counter() - started))
"""
ROUNDTRIP = """
import benchapp, statistics, time
for _ in range(20):
    benchapp.add.delay(1, 2).get(timeout=10)
times = []
for _ in range({count}):
    started = time.perf_counter()
    benchapp.add.delay(1, 2).get(timeout=10)
    times.append(time.perf_counter() - started)
print(statistics.median(times) * 1000)
"""


def purge(env: dict[str, str]) -> None:
    """Empty the queue of one side."""
    run_python(PURGE, env)


def drain(package: str, broker: str, args: argparse.Namespace, *, results: bool = False) -> float:
    """Return tasks per second of a worker that finds a full queue."""
    with tempfile.TemporaryDirectory() as directory:
        env = environment(package, broker, results=results, directory=directory)
        purge(env)
        task = "add.s(1, 2)" if results else "noop"
        run_python(PUBLISH.format(task=task, count=args.tasks), env)
        watcher = subprocess.Popen(
            [sys.executable, "-c", DRAIN], env=env, stdout=subprocess.PIPE, text=True
        )
        time.sleep(1)
        with worker(package, env, "-c", "2", "-P", args.pool):
            out, _ = watcher.communicate(timeout=180)
        return float(out)


def delay(package: str, broker: str, args: argparse.Namespace) -> float:
    """Return messages per second of a ``delay()`` loop."""
    with tempfile.TemporaryDirectory() as directory:
        env = environment(package, broker, results=False, directory=directory)
        purge(env)
        rate = float(run_python(PUBLISH.format(task="noop", count=args.tasks), env))
        purge(env)
        return rate


def roundtrip(package: str, broker: str, args: argparse.Namespace) -> float:
    """Return the median milliseconds of ``delay().get()``."""
    with tempfile.TemporaryDirectory() as directory:
        env = environment(package, broker, results=True, directory=directory)
        purge(env)
        with worker(package, env, "-c", "2"):
            return float(run_python(ROUNDTRIP.format(count=300), env))


def import_time(package: str, broker: str, args: argparse.Namespace) -> float:
    """Return milliseconds of ``from package import Celery; Celery``."""
    started = time.perf_counter()
    run_python(f"from {package} import Celery; Celery", clean_environment())
    return (time.perf_counter() - started) * 1000


def help_time(package: str, broker: str, args: argparse.Namespace) -> float:
    """Return milliseconds of ``package --help``."""
    started = time.perf_counter()
    subprocess.run(
        [SCRIPTS / package, "--help"],
        check=True,
        stdout=subprocess.DEVNULL,
        env=clean_environment(),
    )
    return (time.perf_counter() - started) * 1000


def pss(pid: int) -> float:
    """Return the proportional set size in MB of a process and its children."""
    total = 0
    pids, seen = [pid], set()
    while pids:
        current = pids.pop()
        if current in seen:
            continue
        seen.add(current)
        for line in Path(f"/proc/{current}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
        children = Path(f"/proc/{current}/task/{current}/children").read_text().split()
        pids += [int(child) for child in children]
    return total / 1024


def memory(package: str, broker: str, args: argparse.Namespace) -> float:
    """Return the MB of an idle worker with two processes."""
    with tempfile.TemporaryDirectory() as directory:
        env = environment(package, broker, results=False, directory=directory)
        with worker(package, env, "-c", "2") as process:
            time.sleep(5)
            return pss(process.pid)


Measurement = Callable[[str, str, argparse.Namespace], float]
#: Name -> (what, unit, function, whether more is better).
MEASUREMENTS: dict[str, tuple[str, str, Measurement, bool]] = {
    "drain": ("drain, no-op, no results", "tasks/s", drain, True),
    "drain-results": (
        "drain with results",
        "tasks/s",
        lambda package, broker, args: drain(package, broker, args, results=True),
        True,
    ),
    "delay": ("delay() loop", "messages/s", delay, True),
    "roundtrip": ("delay().get(), median", "ms", roundtrip, False),
    "import": ("import the app class", "ms", import_time, False),
    "help": ("--help", "ms", help_time, False),
    "memory": ("idle worker -c 2, PSS", "MB", memory, False),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--broker", default="redis", choices=["redis", "amqp", "sqlite"])
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pool", default="prefork")
    parser.add_argument("--only", default=",".join(MEASUREMENTS))
    args = parser.parse_args()
    packages = ("taskq",) if args.broker == "sqlite" else PACKAGES
    print(f"broker {args.broker}, {args.tasks} tasks, median of {args.rounds}")
    for name in args.only.split(","):
        what, unit, measure, more_is_better = MEASUREMENTS[name]
        figures: dict[str, list[float]] = {package: [] for package in packages}
        for _ in range(args.rounds):
            for package in packages:
                figures[package].append(measure(package, args.broker, args))
        medians = {package: statistics.median(values) for package, values in figures.items()}
        row = f"{what:28s}" + "".join(
            f"{package:>8s} {medians[package]:10.1f} {unit}" for package in packages
        )
        if len(packages) == 2:
            ratio = medians["taskq"] / medians["celery"]
            row += f"   {ratio:.2f}x" + ("" if more_is_better else " (less is better)")
        print(row, flush=True)


if __name__ == "__main__":
    main()
