"""Decides which child gets which job, writes the packets, and takes unread ones back.

The invariant: no job waits behind a running one while a child is idle. Idle children are served
first; short jobs may queue in a child's socket, and whenever a child idles with nothing pending,
unread packets are taken back from the child with the most and given to it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from taskq.concurrency.base import log_callback_error
from taskq.concurrency.jobs import Job
from taskq.concurrency.prefork.bodies import BodyFiles
from taskq.concurrency.prefork.channel import send_packet, send_with_body, steal_seq
from taskq.concurrency.prefork.children import Child, State
from taskq.concurrency.prefork.frames import (
    BODY,
    INLINE_LIMIT,
    encode_task,
    encode_without_body,
)
from taskq.concurrency.prefork.openings import Openings
from taskq.concurrency.runtimes import Runtimes

logger = logging.getLogger(__name__)


class Dispatcher:
    """Jobs on their way to children.

    Parameters:
        on_head: called with a child whose first job changed, to start the clock of its limits.
    """

    def __init__(self, on_head: Callable[[Child], None]) -> None:
        self.runtimes = Runtimes()
        #: Called once per batch before anything is written; set by the worker through the pool.
        self.before_dispatch: Callable[[], None] | None = None
        #: Children by pid.
        self.children: dict[int, Child] = {}
        #: Jobs written to children and not taken back, per slot; ``info["writes"]`` shows it.
        self.writes: dict[int, int] = {}
        #: Large bodies on their way.
        self.files = BodyFiles()
        self._on_head = on_head
        self._pending: deque[Job] = deque()
        # Chosen or written before and come back: on_dispatched() was called already.
        self._returned: deque[Job] = deque()
        #: Children that may take one more job.
        self.openings = Openings()
        self._seq = 0
        # Chosen, and not written yet: what the flush in progress is about.
        self._batch: list[tuple[Child, Job]] = []
        self._unflushed = False
        self._busy = False

    # -- jobs in and out

    def submit(self, job: Job) -> None:
        """Queue ``job`` for the next flush."""
        self._pending.append(job)

    @property
    def waiting(self) -> int:
        """Number of jobs that no child has."""
        return len(self._pending) + len(self._returned)

    @property
    def idle(self) -> int:
        """Number of children with nothing to do."""
        return len(self.openings.idle)

    def has_work(self) -> bool:
        """Return whether any job is waiting or with a child."""
        return bool(self.waiting) or any(child.queue for child in self.children.values())

    def cancel(self, job: Job) -> bool:
        """Take ``job`` back if it has not started; return whether it never will.

        ``before_dispatch`` may call it for jobs that it found out not to be ours any more.
        """
        for position, (child, other) in enumerate(self._batch):
            if other is job:
                del self._batch[position]
                self.openings.unload(child)
                return True
        for waiting in (self._pending, self._returned):
            if _remove(waiting, job):
                return True
        for child in self.children.values():
            if any(other is job for _, other in list(child.queue)[1:]):
                self._returned.extend(self.recall(child))
                return _remove(self._returned, job)
        return False

    def take_back(self) -> list[Job]:
        """Remove and return every job that has not started, those first that a child had."""
        jobs = [*self.take_back_dispatched(), *self._pending]
        self._pending.clear()
        return jobs

    def take_back_dispatched(self) -> list[Job]:
        """Remove and return the jobs that were chosen for a child before and have not started."""
        for child in self.children.values():
            self._returned.extend(self.recall(child))
        jobs = list(self._returned)
        self._returned.clear()
        return jobs

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Queue jobs that came back from a child before all others."""
        self._returned.extend(jobs)

    def give_back_read(self, child: Child, jobs: list[Job]) -> None:
        """Queue jobs that ``child`` had read and not begun before all others."""
        if jobs:
            self.writes[child.index] -= len(jobs)
            self.give_back(jobs)

    # -- children

    def recall(self, child: Child, most: int | None = None) -> list[Job]:
        """Take back up to ``most`` jobs (None: all) that ``child`` has not read, oldest first."""
        jobs: list[Job] = []
        queue = child.queue
        if not queue:
            return jobs
        self.openings.withdraw(child)
        head = queue[0][1]
        while most is None or len(jobs) < most:
            seq = steal_seq(child.peer_end)
            if seq is None:
                break
            job = _take(child, seq)
            if job is not None:
                jobs.append(job)
                self.writes[child.index] -= 1
            if seq in child.files:
                self.files.release(child.files.pop(seq))
        if queue and queue[0][1] is not head:
            # It was between two tasks and had not read the next one yet.
            self.start_head(child, queue[0][1], time.time())
        self.openings.admit(child)
        return jobs

    # -- the flush

    def flush(self) -> None:
        """Hand waiting jobs to the children that may take them, and balance idle ones."""
        if self._busy:
            return
        self._busy = True
        try:
            if self._pending or self._returned:
                self._hand_over()
            if self.openings.idle and not self._pending and not self._returned:
                self._balance()
        finally:
            self._busy = False

    def _hand_over(self) -> None:
        self._choose()
        if self._unflushed and self.before_dispatch is not None:
            try:
                self.before_dispatch()
            except BaseException:
                for child, _ in self._batch:
                    self.openings.unload(child)
                self._returned.extendleft(job for _, job in reversed(self._batch))
                self._batch = []
                raise
        self._unflushed = False
        batch, self._batch = self._batch, []
        self._write(batch)

    def _choose(self) -> None:
        """Assign jobs to children in order of arrival, until one fits nowhere."""
        returned, pending, batch = self._returned, self._pending, self._batch
        pick, window = self.openings.pick, self.runtimes.window
        while returned:
            child = pick(window(returned[0].name))
            if child is None:
                return
            batch.append((child, returned.popleft()))
        while pending:
            job = pending[0]
            child = pick(window(job.name))
            if child is None:
                return
            pending.popleft()
            try:
                job.on_dispatched()
            except Exception:
                log_callback_error(job, "on_dispatched")
                self.openings.unload(child)
                continue
            self._unflushed = True
            batch.append((child, job))

    def _write(self, batch: list[tuple[Child, Job]]) -> None:
        """Write the packets, then tell the jobs that became heads that they started."""
        heads: list[tuple[Child, Job]] = []
        full: set[Child] = set()
        failed: list[tuple[Job, Exception]] = []
        for child, job in batch:
            if child in full or child.state is not State.UP:
                self.openings.unload(child)
                self._returned.append(job)
                continue
            seq = self._seq = self._seq + 1
            try:
                payload = job.payload
                if len(payload[BODY]) > INLINE_LIMIT:
                    self._send_large(child, seq, job.early_ack, payload)
                else:
                    send_packet(child.main_end, seq, encode_task(seq, job.early_ack, payload))
            except OSError as exc:
                # Full (BlockingIOError, ENOBUFS, ETOOMANYREFS): it has unread packets, and their
                # outcomes bring us back here. Order per child is kept by sending it nothing more.
                logger.debug("No room to write %r to %r: %s", job, child, exc)
                full.add(child)
                self.openings.unload(child)
                self._returned.append(job)
                continue
            except Exception as exc:
                self.openings.unload(child)
                failed.append((job, exc))
                continue
            if not child.queue:
                heads.append((child, job))
            child.queue.append((seq, job))
            self.writes[child.index] = self.writes.get(child.index, 0) + 1
        if heads:
            now = time.time()
            for child, job in heads:
                self.start_head(child, job, now)
        for job, error in failed:
            _refuse(job, error)

    def _send_large(self, child: Child, seq: int, early: bool, payload: tuple[Any, ...]) -> None:
        """Send a task whose body is too large for a packet."""
        packet = encode_without_body(seq, early, payload)
        if len(packet) > INLINE_LIMIT or isinstance(payload[BODY], str):
            # Not only the body is large, or it is no bytes.
            send_packet(child.main_end, seq, encode_task(seq, early, payload))
            return
        fd = self.files.store(payload[BODY])
        try:
            send_with_body(child.main_end, packet, fd)
        except OSError:
            self.files.release(fd)
            raise
        child.files[seq] = fd

    def start_head(self, child: Child, job: Job, now: float) -> None:
        """Tell ``job`` that ``child`` has it at hand since the unix time ``now``."""
        child.head_started = now
        self._on_head(child)
        try:
            job.on_started(child.pid, now)
        except Exception:
            log_callback_error(job, "on_started")

    def _balance(self) -> None:
        """Move unread jobs from the fullest children to idle ones."""
        exhausted: set[Child] = set()
        while self.openings.idle:
            loaded = [c for c in self.children.values() if c.load > 1 and c not in exhausted]
            if not loaded:
                return
            victim = max(loaded, key=_load)
            # Half of what it has, so that the two end up even.
            half = victim.load // 2
            jobs = self.recall(victim, most=half)
            if len(jobs) < half:
                exhausted.add(victim)
            if jobs:
                self._returned.extend(jobs)
                self._hand_over()


def _refuse(job: Job, exc: Exception) -> None:
    """Fail a job that can't be sent to a child at all."""
    logger.error("Can't send %r to a child: %r", job, exc)
    try:
        job.on_lost(exc)
    except Exception:
        log_callback_error(job, "on_lost")


def _load(child: Child) -> int:
    return child.load


def _take(child: Child, seq: int) -> Job | None:
    """Remove and return the job with number ``seq`` from the child's queue."""
    for position, (number, job) in enumerate(child.queue):
        if number == seq:
            del child.queue[position]
            child.load -= 1
            return job
    return None


def _remove(jobs: deque[Job], job: Job) -> bool:
    for position, other in enumerate(jobs):
        if other is job:
            del jobs[position]
            return True
    return False
