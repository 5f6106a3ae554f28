"""Jobs and an executor for tests of pools, without an app.

The executor runs functions of this module by name; the body of the payload is their arguments,
as a Python literal.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from billiard.einfo import ExceptionInfo

EXECUTOR = "tests.unit.concurrency.pool_support:execute"

#: Tasks that are reported to take no time, so that several are written to a child at once.
ALWAYS_SHORT = {"append", "append_all"}

_ids = count(1)

#: Python 3.11 has trouble with literals that several threads parse at once: "SystemError: AST
#: constructor recursion depth mismatch".
_parsing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: int
    value: Any
    runtime: float


def execute(payload: tuple[Any, ...]) -> Outcome:
    name, _, headers, body = payload[:4]
    started = time.monotonic()
    try:
        with _parsing:
            args = ast.literal_eval(body.decode()) if body else ()
        value = globals()[name](*args, **headers)
    except Exception:
        return Outcome(1, ExceptionInfo(), time.monotonic() - started)
    runtime = 0.0 if name in ALWAYS_SHORT else time.monotonic() - started
    return Outcome(0, None if value is None else repr(value), runtime)


@dataclass
class RecordingJob:
    """A job that remembers what the pool told it, in order."""

    name: str
    args: tuple[Any, ...] = ()
    early_ack: bool = True
    soft_limit: float | None = None
    hard_limit: float | None = None
    body: bytes | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: f"job-{next(_ids)}")
    calls: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0
    outcome: Any = None
    lost: BaseException | None = None

    @property
    def payload(self) -> tuple[Any, ...]:
        body = repr(self.args).encode() if self.body is None and self.args else self.body or b""
        return (self.name, self.id, self.headers, body, "application/json", "utf-8", {}, {})

    @property
    def value(self) -> Any:
        """What the task returned."""
        assert self.outcome is not None, self
        assert self.outcome.kind == 0, self.outcome
        return None if self.outcome.value is None else ast.literal_eval(self.outcome.value)

    @property
    def error(self) -> BaseException:
        """What the task raised."""
        assert self.outcome is not None, self
        assert self.outcome.kind == 1, self.outcome
        exc = self.outcome.value.exception
        return getattr(exc, "exc", exc)

    @property
    def done(self) -> bool:
        return bool(self.ended)

    def on_dispatched(self) -> None:
        self.calls.append("dispatched")

    def on_started(self, pid: int, time_started: float) -> None:
        self.calls.append("started")
        self.pids.append(pid)
        self.started = time_started

    def on_outcome(self, outcome: Any) -> None:
        self.calls.append("outcome")
        self.outcome, self.ended = outcome, time.time()

    def on_lost(self, exc: BaseException) -> None:
        self.calls.append("lost")
        self.lost, self.ended = exc, time.time()

    def on_limit(self, soft: bool, limit: float) -> None:
        self.calls.append(f"{'soft' if soft else 'hard'} limit {limit}")
        if not soft:
            self.ended = time.time()


# -- tasks


def noop() -> None:
    return None


def add(x: int, y: int) -> int:
    return x + y


def pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def fail(text: str) -> None:
    raise ValueError(text)


def exit_now(status: int) -> None:
    os._exit(status)


def system_exit(status: int) -> None:
    sys.exit(status)


def kill_self(signum: int) -> None:
    os.kill(os.getpid(), signum)
    time.sleep(10)


def measure(*chunks: str, **headers: Any) -> int:
    return sum(map(len, chunks))


def text(size: int) -> str:
    return "x" * size


def append(path: str, line: str, seconds: float = 0.0) -> None:
    """Append a line to a file, then sleep."""
    with Path(path).open("a") as file:
        file.write(f"{line}\n")
    time.sleep(seconds)


def append_all(path: str, line: str, ballast: str) -> int:
    """Append a line to a file; the message is large."""
    append(path, line)
    return len(ballast)


def cleanup_on_exit(path: str, seconds: float) -> None:
    try:
        append(path, "begin")
        time.sleep(seconds)
    finally:
        append(path, "cleanup")


def stubborn(path: str, seconds: float) -> None:
    """Ignore every exception for a while."""
    append(path, "begin")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(0.05)
        except BaseException:
            append(path, "ignored")


def wait_for_soft_limit(seconds: float) -> str:
    from billiard.exceptions import SoftTimeLimitExceeded

    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "soft"
    return "none"


def grow_memory(megabytes: int) -> int:
    HOARD.append(b"x" * (megabytes * 1024 * 1024))
    return os.getpid()


HOARD: list[bytes] = []


def open_descriptors() -> list[str]:
    return sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in _listed_fds())


def _listed_fds() -> list[str]:
    fds = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        fds.append(fd)
    return fds


def process_names() -> tuple[str, str, int]:
    import multiprocessing

    import billiard

    process = billiard.current_process()
    return multiprocessing.current_process().name, process.name, process.index


def start_process() -> int:
    """Start a process with multiprocessing, which daemonic pool processes may not."""
    import multiprocessing

    process = multiprocessing.get_context("fork").Process(target=os.getpid)
    process.start()
    process.join()
    return process.exitcode or 0


def ignore_sigterm_from_outside() -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.05)
    return "alive"


def stdin_is_empty() -> str:
    return sys.stdin.read()


# -- driving a pool


def run(pool: Any, *jobs: RecordingJob, timeout: float = 20.0) -> None:
    """Submit jobs, and turn the pool until all of them have ended."""
    for job in jobs:
        pool.submit(job)
    wait(pool, *jobs, timeout=timeout)


def wait(pool: Any, *jobs: RecordingJob, timeout: float = 20.0) -> None:
    """Turn the pool until submitted jobs have ended."""
    turn_until(pool, lambda: all(job.done for job in jobs), timeout)


def turn_until(pool: Any, condition: Any, timeout: float = 20.0) -> None:
    """Turn the pool's loop until ``condition()`` holds; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        remaining = deadline - time.monotonic()
        assert remaining > 0, f"not reached in {timeout} seconds"
        pool.pump(min(remaining, 0.1))
