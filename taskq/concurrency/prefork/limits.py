"""Time limits of what children run: soft ones interrupt the task, hard ones kill its child.

One alarm serves all children, set to the earliest deadline; without limits there is none.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable

from taskq.concurrency.base import log_callback_error
from taskq.concurrency.jobs import Job
from taskq.concurrency.loop import Alarm, PoolLoop
from taskq.concurrency.prefork.children import NEVER, Child
from taskq.concurrency.prefork.page import SOFT_LIMIT

logger = logging.getLogger(__name__)

#: Seconds until the soft limit's signal is sent again to a child that it did not reach
#: (it came while the child was not inside the task's own code); doubled each time.
SOFT_RETRY = 0.05


class Limits:
    """Watches the heads of the children's queues.

    Parameters:
        soft: default soft limit in seconds; None or 0 means none.
        hard: default hard limit in seconds.
        kill: called with a child and the number and limit of a task that must be killed.
    """

    def __init__(
        self,
        loop: PoolLoop,
        children: Callable[[], Iterable[Child]],
        kill: Callable[[Child, int, float], None],
        *,
        soft: float | None,
        hard: float | None,
    ) -> None:
        self.soft = soft or None
        self.hard = hard or None
        self._loop = loop
        self._children = children
        self._kill = kill
        self._alarm: Alarm | None = None

    def watch(self, child: Child) -> None:
        """Start the clock for the job that became the head of the child's queue."""
        job = child.queue[0][1]
        soft, hard = job.soft_limit, job.hard_limit
        if soft is None:
            soft = self.soft
        if hard is None:
            hard = self.hard
        if soft or hard:
            now = time.monotonic()
            child.soft_at = now + soft if soft else NEVER
            child.hard_at = now + hard if hard else NEVER
            self._arm(min(child.soft_at, child.hard_at))
        else:
            child.soft_at = child.hard_at = NEVER

    def soft_limit_of(self, job: Job) -> float:
        """Return the soft limit that counts for ``job``, 0 for none."""
        return (self.soft if job.soft_limit is None else job.soft_limit) or 0

    def hard_limit_of(self, job: Job) -> float:
        """Return the hard limit that counts for ``job``, 0 for none."""
        return (self.hard if job.hard_limit is None else job.hard_limit) or 0

    def _arm(self, due: float) -> None:
        alarm = self._alarm
        if due == NEVER or (alarm is not None and alarm.due <= due):
            return
        if alarm is not None:
            alarm.cancel()
        self._alarm = self._loop.call_later(max(0.0, due - time.monotonic()), self._check)

    def _check(self) -> None:
        self._alarm = None
        now = time.monotonic()
        for child in list(self._children()):
            if child.queue and child.hard_at <= now:
                child.soft_at = child.hard_at = NEVER
                seq, job = child.queue[0]
                self._kill(child, seq, self.hard_limit_of(job))
            elif child.queue and child.soft_at <= now:
                child.soft_at = NEVER
                seq, job = child.queue[0]
                self.interrupt(child, seq)
                try:
                    job.on_limit(True, self.soft_limit_of(job))
                except Exception:
                    log_callback_error(job, "on_limit")
        deadlines = (min(child.soft_at, child.hard_at) for child in self._children())
        self._arm(min(deadlines, default=NEVER))

    def interrupt(self, child: Child, seq: int, retry_in: float = SOFT_RETRY) -> None:
        """Raise SoftTimeLimitExceeded in the task; again, until the child says it took effect."""
        child.page.slots[SOFT_LIMIT] = seq
        os.kill(child.pid, signal.SIGUSR1)

        def again() -> None:
            runs = child.exitcode is None and child.queue and child.queue[0][0] == seq
            if runs and child.page.slots[SOFT_LIMIT] == seq:
                self.interrupt(child, seq, retry_in * 2)

        self._loop.call_later(retry_in, again)
