"""Measures the prefork pool alone: no broker, no trace, tasks that do nothing.

    python -m tests.benchmarks.bench_pool [--children 2] [--tasks 100000] [--in-flight 64]

Prints tasks/s, CPU microseconds per task in the main process and in the children, and system
calls per task when strace is installed (``--strace``).
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from kombu.asynchronous import Hub

from taskq.concurrency.prefork import TaskPool

EXECUTOR = "tests.benchmarks.bench_pool:execute"


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: int
    value: Any
    runtime: float


def execute(payload: tuple[Any, ...]) -> Outcome:
    """Do nothing, or sleep as long as the headers say."""
    seconds = payload[2].get("sleep")
    started = time.monotonic()
    if seconds:
        time.sleep(seconds)
    return Outcome(0, None, time.monotonic() - started)


HEADERS = {
    "lang": "py",
    "task": "proj.tasks.add",
    "id": "0" * 36,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": "0" * 36,
    "parent_id": None,
    "argsrepr": "(2, 2)",
    "kwargsrepr": "{}",
    "origin": "gen1@host",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
DELIVERY_INFO = {"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False}
PROPERTIES = {"correlation_id": "0" * 36, "reply_to": "1" * 36, "delivery_tag": "2" * 36}


class BenchJob:
    """The cheapest possible job, so that what is measured is the pool."""

    __slots__ = ("done", "id", "payload")

    name = "proj.tasks.add"
    early_ack = True
    soft_limit: float | None = None
    hard_limit: float | None = None

    def __init__(self, number: int, body: bytes, headers: dict[str, Any], done: Any) -> None:
        self.id = str(number)
        self.done = done
        self.payload = (
            self.name,
            self.id,
            headers,
            body,
            "application/json",
            "utf-8",
            DELIVERY_INFO,
            PROPERTIES,
        )

    def on_dispatched(self) -> None: ...

    def on_started(self, pid: int, time_started: float) -> None: ...

    def on_outcome(self, outcome: Any) -> None:
        self.done()

    def on_lost(self, exc: BaseException) -> None:
        raise SystemExit(f"lost a task: {exc}")

    def on_limit(self, soft: bool, limit: float) -> None: ...


class Bench:
    """Keeps a number of jobs in flight until all are done."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.left_to_submit = options.tasks
        self.left = options.tasks
        self.body = b"x" * options.body
        self.headers = {**HEADERS, "sleep": options.sleep}
        self.pool = TaskPool(options.children, executor=EXECUTOR)
        self.hub = Hub()

    def run(self) -> None:
        pool, hub = self.pool, self.hub
        pool.start()
        pool.register_with_event_loop(hub)
        pool.apply_async(os.getpid).get()
        before, started = _cpu(resource.RUSAGE_SELF), time.perf_counter()
        for _ in range(self.options.in_flight):
            self._submit()
        while self.left:
            hub.run_once()
        elapsed = time.perf_counter() - started
        main_cpu = _cpu(resource.RUSAGE_SELF) - before
        tasks = self.options.tasks
        ideal = tasks * self.options.sleep / self.options.children
        pool.stop()
        children_cpu = _cpu(resource.RUSAGE_CHILDREN)
        print(
            f"{tasks / elapsed:10,.0f} tasks/s  main {main_cpu / tasks * 1e6:6.1f} µs/task  "
            f"children {children_cpu / tasks * 1e6:6.1f} µs/task"
            + (f"  efficiency {ideal / elapsed:.1%}" if ideal else "")
        )

    def _submit(self) -> None:
        if self.left_to_submit:
            self.left_to_submit -= 1
            self.pool.submit(BenchJob(self.left_to_submit, self.body, self.headers, self._done))

    def _done(self) -> None:
        self.left -= 1
        self._submit()


def _cpu(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _count_system_calls(arguments: list[str]) -> None:
    if shutil.which("strace") is None:
        raise SystemExit("--strace needs strace, which is not installed")
    command = ["strace", "-f", "-c", "-U", "calls,name", sys.executable, "-m", __spec__.name]
    process = subprocess.run([*command, *arguments], stderr=subprocess.PIPE, text=True)
    print("\n".join(process.stderr.splitlines()[:14]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--body", type=int, default=80, help="bytes")
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds each task sleeps")
    parser.add_argument("--strace", action="store_true")
    options = parser.parse_args()
    if options.strace:
        _count_system_calls([argument for argument in sys.argv[1:] if argument != "--strace"])
    else:
        Bench(options).run()


if __name__ == "__main__":
    main()
