"""A user's project in a directory of its own, and real workers started on it.

Tests say what is in the project's ``proj.py`` and talk to it as a user would: through the
``taskq`` command, and through the app imported in this process.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent

HEADER = """
import os, time
from {package} import {names}

app = Celery("proj", broker={broker!r}, backend={backend!r})
app.conf.update({conf!r})
"""


def wait_until(condition: Callable[[], Any], timeout: float = 20.0, message: str = "") -> Any:
    """Return the first true value of ``condition``; fail the test after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(message or f"not true within {timeout} s")
        time.sleep(0.02)


class Worker:
    """A worker process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.logfile = log

    @property
    def pid(self) -> int:
        """Pid of the main process."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything written so far."""
        return self.logfile.read_text(errors="replace")

    def wait_for_log(self, text: str, timeout: float = 20.0) -> None:
        """Wait until the log has the text."""

        def seen() -> bool:
            if self.process.poll() is not None and text not in self.log:
                raise AssertionError(
                    f"worker ended with {self.process.returncode} before {text!r}:\n{self.log}"
                )
            return text in self.log

        try:
            wait_until(seen, timeout)
        except AssertionError as exc:
            raise AssertionError(f"{text!r} not in the log: {exc}\n{self.log}") from None

    def children(self) -> list[int]:
        """Pids of the pool processes."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def stop(self, sig: int = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Send a signal, wait for the end, return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(timeout)


class Project:
    """``proj.py`` in a directory, made of a header with the app and the test's own code."""

    #: Whether each worker is the leader of a process group, with its children.
    new_session = False
    #: Whether Python is told where the project is, besides being started there.
    in_path = True

    def __init__(
        self,
        directory: Path,
        code: str,
        *,
        broker: str,
        backend: str | None,
        conf: dict[str, Any] | None = None,
        package: str = "taskq",
    ) -> None:
        self.directory = directory
        self.broker = broker
        self.backend = backend
        settings = {"task_default_queue": f"q-{os.urandom(4).hex()}", **(conf or {})}
        self.queue = settings["task_default_queue"]
        self._source = HEADER, textwrap.dedent(code), settings
        self._workers: list[Worker] = []
        self._started: list[subprocess.Popen[bytes]] = []
        self._write("proj.py", package)
        self._app: Any = None

    def _write(self, filename: str, package: str, names: str = "Celery") -> None:
        header, code, conf = self._source
        text = header.format(
            package=package, names=names, broker=self.broker, backend=self.backend, conf=conf
        )
        (self.directory / filename).write_text(text + code)

    def as_package(self, package: str, module: str) -> Any:
        """Write the same project for another package (``celery``) and import it."""
        self._write(f"{module}.py", package)
        return self._import(module)

    def _import(self, module: str) -> Any:
        spec = importlib.util.spec_from_file_location(module, self.directory / f"{module}.py")
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[module] = loaded
        spec.loader.exec_module(loaded)
        return loaded

    @property
    def proj(self) -> Any:
        """The project's module, imported here: the client side."""
        if self._app is None:
            self._app = self._import("proj")
        return self._app

    @property
    def env(self) -> dict[str, str]:
        """Environment of the project's processes."""
        return {
            **os.environ,
            "PYTHONPATH": f"{self.directory}:{ROOT}" if self.in_path else "",
            "PYTHONUNBUFFERED": "1",
            # CI runs as root, and some tests accept pickle.
            "C_FORCE_ROOT": "1",
        }

    def run(self, *args: str, command: str = "taskq", timeout: float = 60.0, **kw: Any) -> Any:
        """Run a command in the project's directory and return what it did."""
        return subprocess.run(
            [str(SCRIPTS / command), *args],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            **kw,
        )

    def start(self, *args: str, stdout: Any) -> subprocess.Popen[bytes]:
        """Start ``taskq -A proj`` with more arguments; the caller ends it."""
        process = subprocess.Popen(
            [str(SCRIPTS / "taskq"), "-A", "proj", *args],
            cwd=self.directory,
            env=self.env,
            stdout=stdout,
            stderr=subprocess.STDOUT,
        )
        self._started.append(process)
        return process

    def start_worker(
        self, *options: str, command: str = "taskq", app: str = "proj", ready: bool = True
    ) -> Worker:
        """Start a worker and wait until it is ready."""
        log = self.directory / f"{command}-{len(self._workers)}.log"
        if not {"-n", "--hostname"} & set(options):
            # Brokers are shared by tests that run at the same time.
            options = (*options, "-n", f"w{len(self._workers)}-{self.queue}@%h")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(SCRIPTS / command), "-A", app, "worker", "-l", "INFO", *options],
                cwd=self.directory,
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=self.new_session,
            )
        worker = Worker(process, log)
        self._workers.append(worker)
        if ready:
            worker.wait_for_log(" ready.", timeout=60.0)
        return worker

    @contextmanager
    def worker(self, *options: str, **kw: Any) -> Iterator[Worker]:
        """A worker for the length of a block."""
        started = self.start_worker(*options, **kw)
        try:
            yield started
        finally:
            self._end(started)

    def _end(self, worker: Worker) -> None:
        try:
            worker.stop()
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
            if Path(worker.process.args[0]).name == "taskq":  # how others end is their business
                raise AssertionError(f"worker did not stop:\n{worker.log}") from None

    def close(self) -> None:
        """Stop what still runs and close the client."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.kill()
                worker.process.wait()
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self._app is not None:
            self._app.app.close()
            sys.modules.pop("proj", None)


def left_in_broker(project: Project) -> int:
    """Return how many messages wait in the project's queue or are held, on Redis or SQLite.

    The broker must be this project's only.
    """
    if project.broker.startswith("redis"):
        with Redis.from_url(project.broker) as client:
            return int(client.llen(project.queue)) + int(client.hlen("unacked"))
    with closing(sqlite3.connect(urlsplit(project.broker).path[1:])) as connection:
        query = "SELECT count(*) FROM message WHERE queue = ?"
        return int(connection.execute(query, (project.queue,)).fetchone()[0])
