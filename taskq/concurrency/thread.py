"""The thread pool: tasks run in threads of the worker's process.

For tasks that wait (for the network, for disks) more than they compute.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

from billiard.exceptions import Terminated

from taskq import signals
from taskq.app import trace
from taskq.app.trace.usercode import coroutines_of_threads
from taskq.concurrency.base import BasePool, apply_target, log_callback_error
from taskq.concurrency.executors import EXECUTE_TASK
from taskq.concurrency.jobs import Job, PoolResult, RunningJob, escaped
from taskq.concurrency.loop import PoolLoop, Pumped
from taskq.concurrency.refusals import LimitRefusal
from taskq.concurrency.runtimes import Runtimes
from taskq.concurrency.tickets import Ticket, claim
from taskq.utils.coroutines import close_loop

__all__ = ("TaskPool",)

logger = logging.getLogger(__name__)

TERM = signal.SIGTERM
#: Seconds until a coroutine is looked for again that has not begun.
CANCEL_RETRY = 0.02
#: First and longest pause in seconds between two looks for tasks that were taken for short ones,
#: whose beginning is not reported at once, and that go on.
FIRST_LOOK = 0.05
LONGEST_LOOK = 1.0


class ApplyResult:
    """A handle on a call, with the methods that the worker uses."""

    def __init__(self, result: PoolResult) -> None:
        self.f = result
        self.get = result.get

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the call has ended, at most ``timeout`` seconds."""
        self.f.wait(timeout)


class TaskPool(Pumped, BasePool):
    """A bounded number of threads, started as they are needed."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False
    terminates_by_job = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit = self.limit or os.cpu_count() or 1
        self._loop = PoolLoop()
        self._loop.on_wake(self._collect)
        self._runtimes = Runtimes()
        self._refusal = LimitRefusal("threads", self.options)
        self._pending: deque[Job] = deque()
        # Acknowledged, or about to be, and not handed over.
        self._batch: list[Ticket] = []
        self._dispatching = False
        # To the threads; None tells the one that gets it to end.
        self._tickets: SimpleQueue[Ticket | None] = SimpleQueue()
        # From the threads: (ticket, has it ended).
        self._news: deque[tuple[Ticket, bool]] = deque()
        self._handed: dict[int, Ticket] = {}
        self._threads: set[threading.Thread] = set()
        self._calls = 0
        self._numbers = 0
        #: Whether there is an alarm to look for tasks that have begun.
        self._looks = False

    # -- life

    def on_start(self) -> None:
        """Prepare the process to run tasks."""
        self._loop.open()
        initargs: tuple[Any, ...] = self.options.get("initargs") or ()
        app = self.app if self.app is not None else (initargs[0] if initargs else None)
        if app is not None and self.executor.name == EXECUTE_TASK:
            trace.setup_worker_optimizations(app, initargs[1] if len(initargs) > 1 else None)
            self._settle_coroutines()
        signals.worker_process_init.send(sender=self._node_name())

    def _settle_coroutines(self) -> None:
        """Decide how coroutine tasks run: on a loop per thread, which keeps their limits."""
        options = self.options
        trace.limit_coroutines(options.get("soft_timeout"), options.get("timeout"))

    def register_with_event_loop(self, loop: Any) -> None:
        """Follow kombu's hub ``loop``; again after each reset of the hub."""
        self._loop.attach(loop, self.flush_dispatch)

    def on_stop(self) -> None:
        """Finish every job that was submitted, then end the threads."""
        self._state = self.CLOSE
        self.flush()
        self._end_threads()
        for thread in list(self._threads):
            thread.join()
        signals.worker_process_shutdown.send(sender=self._node_name(), pid=os.getpid(), exitcode=0)
        self._loop.close()

    def on_terminate(self) -> None:
        """Start nothing more. Threads can't be killed: what runs goes on until the process ends.

        Jobs that were acknowledged and never began get ``on_lost(Terminated)``.
        """
        self._pending.clear()
        for ticket in [*self._batch, *self._handed.values()]:
            if claim(ticket):
                self._handed.pop(id(ticket), None)
                if ticket.job is not None and ticket.job.early_ack:
                    ticket.job.on_lost(Terminated(int(signal.SIGTERM)))
        self._end_threads()

    def flush(self) -> None:
        """Wait until everything that was submitted has ended."""
        while self._pending or self._batch or self._handed or self._news or self._calls:
            self.pump()

    def grow(self, n: int = 1) -> None:
        """Allow ``n`` more threads."""
        self.limit += n

    def shrink(self, n: int = 1) -> None:
        """Allow ``n`` threads less.

        Raises:
            ValueError: none would be left.
        """
        if n >= self.limit:
            raise ValueError(f"Can't shrink the pool by {n}: it has {self.limit} threads")
        self.limit -= n
        for _ in range(len(self._threads) - self.limit):
            self._tickets.put(None)

    # -- jobs

    def submit(self, job: Job) -> None:
        """Run ``job`` in a thread, at the next flush or later."""
        self._refusal.check(job)
        self._pending.append(job)

    def flush_dispatch(self) -> None:
        """Hand over what was submitted: as much as there are threads, and a few short ones more."""
        pending, batch = self._pending, self._batch
        if not (pending or batch) or self._dispatching:
            return
        while pending:
            job = pending[0]
            handed = len(self._handed) + len(batch)
            if handed >= self.limit and handed >= self.limit + self._runtimes.window(job.name):
                break
            pending.popleft()
            try:
                job.on_dispatched()
            except Exception:
                log_callback_error(job, "on_dispatched")
                continue
            batch.append(Ticket(job))
        if batch and self.before_dispatch is not None:
            self._dispatching = True
            try:
                self.before_dispatch()
            finally:
                self._dispatching = False
        self._batch = []
        for ticket in batch:
            self._handed[id(ticket)] = ticket
            self._put(ticket)
        if batch and not self._looks:
            self._look_in(FIRST_LOOK)

    def _look_in(self, seconds: float) -> None:
        """Look for tasks that have begun, and go on looking while some have not."""

        def look() -> None:
            self._looks = False
            self._collect()
            if not all(ticket.announced for ticket in self._handed.values()):
                self._look_in(min(seconds * 2, LONGEST_LOOK))

        self._looks = True
        self._loop.call_later(seconds, look)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **_: Any,
    ) -> ApplyResult:
        """Call ``target(*args, **kwargs)`` in a thread; the callbacks are called there, too."""
        result = PoolResult(str(uuid4()))

        def call() -> None:
            try:
                apply_target(target, args or (), kwargs, callback, accept_callback)
            except BaseException as exc:
                result.settle(None, exc)
            else:
                result.settle(None, None)

        self._calls += 1
        self._put(Ticket(None, call))
        return ApplyResult(result)

    def cancel_pending(self, job: Job) -> bool:
        """Take back ``job`` if no thread has begun it; True if it never will."""
        for position, other in enumerate(self._pending):
            if other is job:
                del self._pending[position]
                return True
        for position, ticket in enumerate(self._batch):
            if ticket.job is job:
                del self._batch[position]
                return True
        for ticket in list(self._handed.values()):
            if ticket.job is job and claim(ticket):
                del self._handed[id(ticket)]
                return True
        return False

    def take_back(self) -> list[Job]:
        """Take back every job that no thread has begun, oldest first."""
        tickets = [*self._handed.values(), *self._batch]
        handed = [ticket.job for ticket in tickets if ticket.job is not None]
        jobs = [job for job in handed if self.cancel_pending(job)]
        jobs.extend(self._pending)
        self._pending.clear()
        return jobs

    def jobs(self) -> list[RunningJob]:
        """Return what the threads are running."""
        return [
            RunningJob(ticket.job, ticket.worker, ticket.started)
            for ticket in list(self._handed.values())
            if ticket.started and ticket.job is not None
        ]

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """Cancel the coroutine of a job; the job gets ``on_lost(Terminated(signal))``.

        Parameters:
            pid: the job; all of them run in the same process.

        Raises:
            NotImplementedError: it is a plain function, which can't be interrupted.
        """
        ticket = next((each for each in self._handed.values() if each.job is pid), None)
        name = getattr(pid, "name", None)
        if name is None or not trace.is_coroutine_task(name):
            raise NotImplementedError(
                f"{type(self)} does not implement kill_job for {name or pid}, which is no coroutine"
                " function: a thread can't be interrupted. Make it one, or use the prefork pool."
            )
        if ticket is not None:
            ticket.signum = int(signal or TERM)
            self._cancel(ticket)

    def _cancel(self, ticket: Ticket) -> None:
        """Cancel a coroutine, as soon as it has begun."""
        if id(ticket) not in self._handed:
            return
        coroutine = coroutines_of_threads.get(ticket.thread)
        if coroutine is None:
            self._loop.call_later(CANCEL_RETRY, lambda: self._cancel(ticket))
        else:
            coroutine.cancel_soon()

    def free_slots(self) -> int:
        """Return how many more jobs would start at once."""
        return max(0, self.limit - len(self._handed) - len(self._pending))

    # -- threads

    def _put(self, ticket: Ticket) -> None:
        self._tickets.put(ticket)
        if len(self._threads) < min(self.limit, len(self._handed) + self._calls):
            self._numbers += 1
            thread = threading.Thread(
                target=self._work, name=f"ThreadPoolWorker-{self._numbers}", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _work(self) -> None:
        """What each thread does: take tickets and run them."""
        get = self._tickets.get
        while (ticket := get()) is not None:
            self._run(ticket)
        close_loop()
        self._threads.discard(threading.current_thread())

    def _run(self, ticket: Ticket) -> None:
        """Run one ticket, unless it was cancelled, and report."""
        if not claim(ticket):
            return
        if ticket.job is None:
            if ticket.call is not None:
                ticket.call()
        else:
            ticket.started, ticket.thread = time.time(), threading.get_ident()
            self._news.append((ticket, False))
            if not self._runtimes.window(ticket.job.name):
                # Short tasks end before the loop could act on their beginning.
                self._loop.wake()
            try:
                ticket.outcome = self.executor.execute(ticket.job.payload)
            except BaseException as exc:
                ticket.raised = escaped(exc)
        self._news.append((ticket, True))
        self._loop.wake()

    def _end_threads(self) -> None:
        for _ in list(self._threads):
            self._tickets.put(None)

    def _collect(self) -> None:
        """Hand what the threads reported to the jobs, in the loop's thread."""
        news = self._news
        while news:
            ticket, ended = news.popleft()
            job = ticket.job
            if job is None:
                self._calls -= 1
                continue
            try:
                if not ended:
                    ticket.announced = True
                    job.on_started(ticket.worker, ticket.started)
                    continue
                del self._handed[id(ticket)]
                if ticket.limit_hit:
                    continue
                if ticket.raised is not None:
                    killed = Terminated(ticket.signum) if ticket.signum else None
                    job.on_lost(killed or ticket.raised)
                    continue
                self._runtimes.observe(job.name, ticket.outcome.runtime)
                job.on_outcome(ticket.outcome)
            except Exception:
                log_callback_error(job, "a callback")

    def _get_info(self) -> dict[str, Any]:
        info = super()._get_info()
        info.update({"max-concurrency": self.limit, "threads": len(self._threads)})
        return info
