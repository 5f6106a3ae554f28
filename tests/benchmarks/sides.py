"""One side of a comparison: a package with its broker, its clients and its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.benchcpu import group_cpu

HERE = Path(__file__).parent
#: Seconds that anything may take.
PATIENCE = 60.0


@dataclass(frozen=True)
class Side:
    """A package on a broker.

    - package: ``taskq`` or ``celery``.
    - broker, backend: URLs; no backend, no results.
    - directory: for files of this measurement.
    - options: more environment for the app.
    """

    package: str
    broker: str
    backend: str
    directory: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        """Name of the queue; brokers may be shared with another run."""
        return f"bench-{self.package}-{os.getpid()}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this side's processes."""
        return {
            **clean_environment(),
            "BENCH_PACKAGE": self.package,
            "BENCH_BROKER": self.broker,
            "BENCH_BACKEND": self.backend,
            "BENCH_QUEUE": self.queue,
            "PYTHONPATH": f"{HERE}:{HERE.parent.parent}",
            **self.options,
        }

    def with_options(self, **options: Any) -> Side:
        """Return a copy with more environment for the app."""
        return replace(self, options={**self.options, **{k: str(v) for k, v in options.items()}})

    def path(self, name: str) -> str:
        """Return the path of a file of this measurement."""
        return str(self.directory / name)

    def client(self, function: str, **arguments: Any) -> Any:
        """Run a function of `benchclient` in a process of its own; return what it returns."""
        command = [sys.executable, str(HERE / "benchclient.py"), function, json.dumps(arguments)]
        with open(self.path("client.log"), "ab") as log:
            done = subprocess.run(
                command,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=PATIENCE,
            )
        if done.returncode:
            text = Path(self.path("client.log")).read_text()
            raise RuntimeError(f"{function} of {self.package} failed:\n{text[-3000:]}")
        return json.loads(done.stdout)

    def fill(self, task: str, count: int, **arguments: Any) -> None:
        """Put messages into this side's queue; taskq does it for both."""
        filler = replace(self, package="taskq").with_options(BENCH_QUEUE=self.queue)
        filler.client("fill", task=task, count=count, **arguments)

    @contextmanager
    def workers(self, *options: str, number: int = 1, lean: bool = True) -> Iterator[int]:
        """Run workers while the context lasts, and yield the id of their process group.

        - lean: Celery's without what only costs; taskq's always keep it.
        """
        if lean and self.package == "celery":
            options = (*options, "--without-gossip", "--without-mingle", "--without-heartbeat")
        started: list[subprocess.Popen[bytes]] = []
        try:
            for index in range(number):
                name = ("-n", f"bench-{self.package}-{index}@%h")
                group = started[0].pid if started else 0
                started.append(self._start_worker(*name, *options, group=group))
            yield started[0].pid
        finally:
            # What a worker does with messages it held is of no interest: the queue is deleted.
            if started:
                os.killpg(started[0].pid, signal.SIGKILL)
            for process in started:
                process.wait()

    def _start_worker(self, *options: str, group: int) -> subprocess.Popen[bytes]:
        command = [*program(self.package), "-A", "benchapp", "worker", "-l", "WARNING", *options]
        log = open(self.path("worker.log"), "ab")  # noqa: SIM115 - the worker's from here on
        with log:
            return subprocess.Popen(
                command,
                env=self.environment,
                cwd=HERE,
                stdout=log,
                stderr=log,
                process_group=group,
            )

    def await_mark(self, name: str) -> dict[str, float]:
        """Wait for a mark to be made; return its time and processor seconds."""
        path, deadline = Path(self.path(name)), time.monotonic() + PATIENCE
        while not path.exists():
            if time.monotonic() > deadline:
                log = Path(self.path("worker.log"))
                raise TimeoutError(
                    f"{self.package} has not worked its queue off in {PATIENCE:.0f} s:\n"
                    + (log.read_text()[-2000:] if log.exists() else "")
                )
            time.sleep(0.01)
        mark: dict[str, float] = json.loads(path.read_text())
        return mark

    def await_lines(self, path: Path, count: int) -> None:
        """Wait until a file has so many lines."""
        deadline = time.monotonic() + PATIENCE
        while not path.exists() or path.read_bytes().count(b"\n") < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} has not got {count} lines in {PATIENCE:.0f} s")
            time.sleep(0.01)

    def clear_marks(self) -> None:
        """Forget the marks, for another measurement with this side."""
        for name in ("begin", "end", "warm"):
            Path(self.path(name)).unlink(missing_ok=True)

    def cleared(self) -> Side:
        """Return this side with its marks and its Redis database empty, for one more use."""
        self.clear_marks()
        empty_redis(self.broker)
        return self

    def await_calm(self, group: int) -> None:
        """Wait until a process group does next to nothing."""
        used = -1.0
        while (now := group_cpu(group)) - used > 0.02:
            used = now
            time.sleep(0.3)

    def warm_up(self, group: int, calls: int = 1) -> None:
        """Wait until a worker has started and executed something."""
        self.fill("noop", calls, end=self.path("warm"))
        self.await_mark("warm")
        self.await_calm(group)  # children may still be starting


def program(package: str) -> list[str]:
    """Return the command of a package, as its installation has it."""
    if package == "python":
        return [sys.executable]
    script = Path(sys.executable).parent / package
    return [str(script)] if script.exists() else [sys.executable, "-m", package]


def clean_environment() -> dict[str, str]:
    """Return this environment without what would have modules compiled at every start."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def side(package: str, broker: str, *, results: bool, redis: str, amqp: str) -> Iterator[Side]:
    """Yield a side with an empty queue, on a broker named ``redis``, ``amqp`` or ``sqlite``."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sqlite = f"sqlite:///{directory}/bench.db"
        url = {"redis": redis, "amqp": amqp, "sqlite": sqlite}[broker]
        backend = (redis if broker == "amqp" else url) if results else ""
        it = Side(package, url, backend, Path(directory))
        try:
            yield it
        finally:
            if broker == "amqp":
                it.client("delete_queue")
            elif broker == "redis":
                empty_redis(redis)


def empty_redis(redis: str) -> None:
    """Delete every key of a Redis database."""
    from redis import Redis

    with Redis.from_url(redis) as client:
        client.flushdb()
