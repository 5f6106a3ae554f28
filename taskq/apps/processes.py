"""Several whole workers from one command (``--processes``): started, watched, stopped together.

Each is a process with a connection, a loop and a name of its own (``celery-1@host``), as if it had
been started by hand; remote control sees that many nodes.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING

from taskq.utils.nodenames import nodename, nodesplit
from taskq.utils.process.parent_death import send_on_parent_death

if TYPE_CHECKING:
    import subprocess

__all__ = ("WorkerProcesses", "number_of_this_process", "numbered")

logger = logging.getLogger("celery.apps.worker")

#: Set for each of the workers: its number, from 1.
NUMBER_ENV = "_TASKQ_WORKER_NUMBER"
#: Signals that are passed on to the workers.
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
#: Those that end them.
ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
#: A worker that lived for fewer seconds is not started again before as many have passed.
SHORT_LIFE = 5.0
#: Seconds between looks at the workers; signals come at once.
LOOK = 0.5


def number_of_this_process() -> int:
    """Return which of several workers this process is, from 1; 0 when it is the only one.

    What this process starts in turn is not told.
    """
    return int(os.environ.pop(NUMBER_ENV, 0))


def numbered(hostname: str, number: int) -> str:
    """Return the node name of one of several workers: ``w1@host`` and 2 give ``w1-2@host``."""
    name, host = nodesplit(hostname)
    return nodename(f"{name or 'celery'}-{number}", host)


class WorkerProcesses:
    """Starts workers and keeps them running until told to stop.

    - argv: arguments of the ``taskq`` command, which each of them gets.
    - count: how many.
    - environment: what is added to theirs.
    """

    def __init__(self, argv: Sequence[str], count: int, environment: dict[str, str]) -> None:
        self._command = [sys.executable, "-m", "taskq", *argv]
        self._environment = environment
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._due: dict[int, float] = dict.fromkeys(range(1, count + 1), 0.0)
        self._stopping = False
        self._exitcode = 0

    def run(self) -> int:
        """Run until all have ended; return the exit status: the last one that was not 0."""
        for signum in FORWARDED:
            signal.signal(signum, self._forward)
        while self._workers or not self._stopping:
            self._start_due()
            self._reap()
            if self._workers or not self._stopping:
                time.sleep(LOOK)
        return self._exitcode

    def _start_due(self) -> None:
        now = time.monotonic()
        for number, due in list(self._due.items()):
            if not self._stopping and due <= now:
                del self._due[number]
                self._started[number] = now
                self._workers[number] = self._start(number)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        # Imported here: the command imports this module also for a single worker.
        import subprocess

        return subprocess.Popen(
            self._command,
            env={**os.environ, **self._environment, NUMBER_ENV: str(number)},
            # Ctrl-C reaches this process, which passes it on: once, not twice.
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )

    def _reap(self) -> None:
        for number, worker in list(self._workers.items()):
            status = worker.poll()
            if status is None:
                continue
            del self._workers[number]
            if self._stopping:
                self._exitcode = status or self._exitcode
                continue
            now = time.monotonic()
            lived = now - self._started[number]
            if status == 0:
                # Told to stop from elsewhere (remote control): it stays stopped.
                self._stopping = not (self._workers or self._due)
                continue
            logger.error("Worker process %d ended with status %d: starting another", number, status)
            self._due[number] = now if lived >= SHORT_LIFE else now + SHORT_LIFE

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = self._stopping or signum in ENDING
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.send_signal(signum)


def _end_with_parent() -> None:
    send_on_parent_death(signal.SIGTERM)
