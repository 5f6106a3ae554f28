"""Notices that a child is dead, and settles what it leaves behind.

A death takes exactly the task down that the child was running: outcomes that it sent are read to
the end, tasks that it had not begun go to other children.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from billiard.common import human_status
from billiard.exceptions import Terminated, WorkerLostError

from taskq.concurrency.base import log_callback_error
from taskq.concurrency.jobs import Job
from taskq.concurrency.loop import PoolLoop
from taskq.concurrency.prefork.children import Child, State
from taskq.concurrency.prefork.dispatch import Dispatcher
from taskq.concurrency.prefork.outcomes import OutcomeReader
from taskq.concurrency.prefork.page import BEGUN

logger = logging.getLogger(__name__)

#: Seconds between looks at children whose death no descriptor announces (no pidfd).
POLL_INTERVAL = 0.5


class Reaper:
    """Buries children.

    Parameters:
        gone: called with each dead child and the state it died in, after its tasks are settled.
    """

    def __init__(
        self,
        loop: PoolLoop,
        dispatcher: Dispatcher,
        reader: OutcomeReader,
        gone: Callable[[Child, State], None],
    ) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._reader = reader
        self._gone = gone

    def watch(self, child: Child) -> None:
        """Bury ``child`` when it dies."""
        try:
            child.pidfd = os.pidfd_open(child.pid)
        except (AttributeError, OSError):
            self._poll(child)
        else:
            self._loop.add_reader(child.pidfd, self.look, child)

    def look(self, child: Child) -> None:
        """Bury ``child`` if it is dead."""
        if child.state is not State.DEAD and _is_dead(child):
            self._bury(child)

    def _poll(self, child: Child) -> None:
        self.look(child)
        if child.state is not State.DEAD:
            self._loop.call_later(POLL_INTERVAL, lambda: self._poll(child))

    def _bury(self, child: Child) -> None:
        before = child.state
        dispatcher = self._dispatcher
        self._reader.read(child, to_the_end=True)
        if child.state is State.UP:
            before = State.UP
        child.state = State.DEAD
        dispatcher.openings.withdraw(child)
        dispatcher.give_back(dispatcher.recall(child))
        lost = self._lost(child)
        dispatcher.children.pop(child.pid, None)
        self._loop.remove_reader(child.main_end.fileno())
        if child.pidfd >= 0:
            self._loop.remove_reader(child.pidfd)
        child.close()
        self._log(child, before)
        for seq, job in lost:
            self._tell(child, seq, job)
        self._gone(child, before)

    def _lost(self, child: Child) -> list[tuple[int, Job]]:
        """Return what the child was running; what it had read and not begun goes back."""
        begun = child.page.slots[BEGUN]
        doomed = child.doom.seq if child.doom is not None else 0
        lost = [(seq, job) for seq, job in child.queue if seq <= begun or seq == doomed]
        unharmed = [job for seq, job in child.queue if seq > begun and seq != doomed]
        self._dispatcher.give_back_read(child, unharmed)
        child.queue.clear()
        for fd in child.files.values():
            self._dispatcher.files.release(fd)
        child.files.clear()
        child.load = 0
        return lost

    def _tell(self, child: Child, seq: int, job: Job) -> None:
        doom = child.doom
        error: Exception
        if doom is not None and doom.seq == seq:
            if doom.silent:
                return
            error = Terminated(doom.signum)
        else:
            error = WorkerLostError(
                f"Worker exited prematurely: {human_status(child.exitcode)} Job: {seq}."
            )
        try:
            job.on_lost(error)
        except Exception:
            log_callback_error(job, "on_lost")

    def _log(self, child: Child, before: State) -> None:
        if child.exitcode and child.doom is None and before is not State.LEAVING:
            logger.error(
                "Process %r pid:%d exited with %r",
                child.name,
                child.pid,
                human_status(child.exitcode),
            )


def _is_dead(child: Child) -> bool:
    """Return whether ``child`` has exited, and learn its exit status."""
    if child.exitcode is not None:
        return True
    try:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
    except ChildProcessError:
        # Somebody else in this process waited for it; how it ended is not known.
        child.exitcode = 0
        return True
    if not pid:
        return False
    child.exitcode = os.waitstatus_to_exitcode(status)
    return True
