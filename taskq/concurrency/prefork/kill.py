"""Kills the child that runs one particular task, and never a child that runs another.

A child may finish the task just as it is being killed. SIGTERM and SIGQUIT carry the task's number
in the shared page, so the child itself ignores a late one. Any other signal is sent only after
the child was stopped, and all it had sent was read, and the task turned out to run still.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable

from billiard.exceptions import Terminated

from taskq.concurrency.base import log_callback_error
from taskq.concurrency.jobs import Job
from taskq.concurrency.loop import PoolLoop
from taskq.concurrency.prefork.children import Child, Doom
from taskq.concurrency.prefork.interrupts import POLITE_SIGNALS
from taskq.concurrency.prefork.page import TERMINATE

logger = logging.getLogger(__name__)

#: Seconds that the loop may block until a stopped child is seen to be stopped.
STOP_WAIT = 0.005
#: Seconds between later looks at a child that takes its time to stop.
STOP_RETRY = 0.01
#: Seconds after which a child that doesn't even stop (it hangs in the kernel) counts as stopped.
STOP_GIVE_UP = 1.0
#: Seconds until SIGTERM or SIGQUIT is sent again to a child that it did not end; doubled each time.
TERMINATE_RETRY = 0.25
#: Seconds that a task has for its cleanup after these; then its child is killed.
TERMINATE_GRACE = 10.0


class Killer:
    """Sends signals to children for the sake of one task.

    Parameters:
        loop: for retries.
        drain: reads everything a child has sent.
        recall: takes back what the child has not read, and gives it to others.
        cancel: takes back a job that no child has read; returns whether it did.
    """

    def __init__(
        self,
        loop: PoolLoop,
        drain: Callable[[Child], None],
        recall: Callable[[Child], None],
        cancel: Callable[[Job], bool],
    ) -> None:
        self._loop = loop
        self._drain = drain
        self._recall = recall
        self._cancel = cancel

    def terminate(self, child: Child, signum: int) -> None:
        """Send ``signum`` to ``child`` if it still runs the job that is the head of its queue.

        SIGTERM and SIGQUIT raise SystemExit inside the task, and are followed by SIGKILL when it
        does not end within ``TERMINATE_GRACE`` seconds.
        """
        if child.exitcode is not None:
            return
        seq, job = child.queue[0]
        if signum not in POLITE_SIGNALS:
            self.strike(child, seq, signum)
            return
        self._recall(child)
        if _runs(child, seq):
            child.doom = Doom(seq, signum)
            self._ask_to_end(child, seq, time.monotonic() + TERMINATE_GRACE, TERMINATE_RETRY)
        else:
            self._terminate_unread(job, signum)

    def strike(
        self, child: Child, seq: int, signum: int, confirmed: Callable[[], None] | None = None
    ) -> None:
        """Stop ``child``; send ``signum`` if it turns out to run ``seq``, else let it continue.

        Parameters:
            confirmed: called just before the signal is sent.
        """
        if child.exitcode is not None:
            return
        os.kill(child.pid, signal.SIGSTOP)
        self._when_stopped(
            child,
            time.monotonic(),
            lambda: self._strike_stopped(child, seq, signum, confirmed),
        )

    def _terminate_unread(self, job: Job, signum: int) -> None:
        """The child had not read the job yet, so it ends without anybody being killed."""
        if self._cancel(job):
            try:
                job.on_lost(Terminated(signum))
            except Exception:
                log_callback_error(job, "on_lost")

    def _ask_to_end(self, child: Child, seq: int, deadline: float, retry_in: float) -> None:
        if child.exitcode is not None or not _runs(child, seq):
            return
        if time.monotonic() >= deadline:
            logger.warning(
                "%s pid:%d did not end %d seconds after it was told to: sending SIGKILL",
                child.name,
                child.pid,
                TERMINATE_GRACE,
            )
            self.strike(child, seq, signal.SIGKILL)
            return
        child.page.slots[TERMINATE] = seq
        os.kill(child.pid, child.doom.signum if child.doom is not None else signal.SIGTERM)
        self._loop.call_later(
            min(retry_in, max(0.0, deadline - time.monotonic())),
            lambda: self._ask_to_end(child, seq, deadline, retry_in * 2),
        )

    def _when_stopped(self, child: Child, since: float, then: Callable[[], None]) -> None:
        blocked_until = time.monotonic() + STOP_WAIT
        while not _is_stopped(child):
            if child.exitcode is not None:
                # It died first; the reaper will find out by the same descriptor as ever.
                return
            if time.monotonic() - since >= STOP_GIVE_UP:
                break
            if time.monotonic() >= blocked_until:
                self._loop.call_later(STOP_RETRY, lambda: self._when_stopped(child, since, then))
                return
            time.sleep(0.0001)
        then()

    def _strike_stopped(
        self, child: Child, seq: int, signum: int, confirmed: Callable[[], None] | None
    ) -> None:
        self._drain(child)
        if _runs(child, seq):
            job = child.queue[0][1]
            self._recall(child)
            if not _runs(child, seq):
                self._terminate_unread(job, signum)
            else:
                if child.doom is None:
                    child.doom = Doom(seq, signum)
                if confirmed is not None:
                    confirmed()
                os.kill(child.pid, signum)
        os.kill(child.pid, signal.SIGCONT)


def signal_number(value: int | str | None) -> int:
    """Return the number of a signal: given as one, or by name (``KILL``, ``SIGKILL``), or TERM."""
    if value is None:
        return int(signal.SIGTERM)
    if isinstance(value, str):
        name = value.upper()
        return int(signal.Signals[name if name.startswith("SIG") else f"SIG{name}"])
    return int(value)


def _runs(child: Child, seq: int) -> bool:
    return bool(child.queue) and child.queue[0][0] == seq


def _is_stopped(child: Child) -> bool:
    """Return whether ``child`` has stopped; reaps it when it has died instead."""
    try:
        pid, status = os.waitpid(child.pid, os.WNOHANG | os.WUNTRACED)
    except ChildProcessError:
        child.exitcode = child.exitcode if child.exitcode is not None else 0
        return False
    if not pid:
        return False
    if os.WIFSTOPPED(status):
        return True
    child.exitcode = os.waitstatus_to_exitcode(status)
    return False
