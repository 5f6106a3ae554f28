"""The asyncio pool as the worker sees it: jobs go to the loop in batches, and so come their ends.

Everything of this class runs in the worker's thread, except what says otherwise.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from billiard.exceptions import Terminated

from taskq import signals
from taskq.app import trace
from taskq.concurrency.asyncio.loopthread import LoopThread
from taskq.concurrency.asyncio.runner import Runner
from taskq.concurrency.asyncio.ticket import Ticket
from taskq.concurrency.asyncio.watchdog import Watchdog
from taskq.concurrency.base import BasePool, apply_target, log_callback_error
from taskq.concurrency.jobs import Job, PoolResult, RunningJob
from taskq.concurrency.loop import PoolLoop, Pumped
from taskq.concurrency.refusals import LimitRefusal
from taskq.concurrency.thread import ApplyResult
from taskq.utils.coroutines import lend_loop

__all__ = ("TaskPool",)

logger = logging.getLogger(__name__)

#: Tasks in flight when nobody says how many.
DEFAULT_CONCURRENCY = 100
#: Threads for tasks that are plain functions, at most.
MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)


class TaskPool(Pumped, BasePool):
    """Coroutine tasks on one event loop, plain functions in a bounded number of threads."""

    #: Tasks in flight when neither option nor setting says how many.
    default_concurrency = DEFAULT_CONCURRENCY

    limit: int
    body_can_be_buffer = True
    signal_safe = False
    terminates_by_job = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limit = self.limit or DEFAULT_CONCURRENCY
        self._loop = PoolLoop()
        self._loop.on_wake(self._collect)
        self._refusal = LimitRefusal("asyncio", {})
        #: Coroutine tasks and plain functions that wait for their turn.
        self._pending: deque[Job] = deque()
        self._pending_functions: deque[Job] = deque()
        self._kinds: dict[str, bool] = {}
        # Acknowledged, or about to be, and not handed over.
        self._batch: list[Ticket] = []
        self._dispatching = False
        self._handed: dict[int, Ticket] = {}
        #: How many of those handed over are plain functions.
        self._functions = 0
        self._calls = 0
        self._thread: LoopThread | None = None

    # -- life

    def on_start(self) -> None:
        """Start the loop's thread."""
        self._loop.open()
        initargs: tuple[Any, ...] = self.options.get("initargs") or ()
        app = self.app if self.app is not None else (initargs[0] if initargs else None)
        trace.setup_worker_optimizations(app, initargs[1] if len(initargs) > 1 else None)
        # Those that plain functions return, as decorators do.
        trace.limit_coroutines(self.options.get("soft_timeout"), self.options.get("timeout"))
        self._thread = LoopThread("asyncio-tasks")
        self._runner = Runner(
            self._thread,
            self._loop.wake,
            threads=MAX_THREADS,
            soft=self.options.get("soft_timeout"),
            hard=self.options.get("timeout"),
        )
        self._watchdog = Watchdog(self._thread, lambda: bool(self._handed))
        self._thread.start()
        self._runner.start()
        self._watchdog.start()
        with self._lent_loop():
            signals.worker_process_init.send(sender=None)

    def register_with_event_loop(self, loop: Any) -> None:
        """Follow kombu's hub ``loop``; again after each reset of the hub."""
        self._loop.attach(loop, self.flush_dispatch)

    def on_stop(self) -> None:
        """Finish every job that was submitted, then end the threads."""
        self._state = self.CLOSE
        self.flush()
        with self._lent_loop():
            signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
        self._end()
        self._loop.close()

    def on_terminate(self) -> None:
        """Start nothing more, and cancel what runs: its cleanup has a moment."""
        self._pending.clear()
        self._pending_functions.clear()
        self._end()

    @contextmanager
    def _lent_loop(self) -> Iterator[None]:
        """Run receivers that are coroutines on the tasks' loop: what they open is for tasks."""
        lend_loop(self._thread.loop if self._thread is not None else None)
        try:
            yield
        finally:
            lend_loop(None)

    def _end(self) -> None:
        if self._thread is not None:
            self._watchdog.stop()
            self._thread.stop()
            self._runner.end()
            self._thread = None

    def flush(self) -> None:
        """Wait until everything that was submitted has ended."""
        while self._waiting() or self._batch or self._handed or self._calls:
            self.pump()

    def grow(self, n: int = 1) -> None:
        """Allow ``n`` more tasks in flight."""
        self.limit += n

    def shrink(self, n: int = 1) -> None:
        """Allow ``n`` tasks in flight less.

        Raises:
            ValueError: none would be left.
        """
        if n >= self.limit:
            raise ValueError(f"Can't shrink the pool by {n}: it runs {self.limit} tasks at a time")
        self.limit -= n

    # -- jobs

    def submit(self, job: Job) -> None:
        """Run ``job`` at the next flush or later."""
        if self._is_coroutine(job):
            self._pending.append(job)
        else:
            self._refusal.check(job)
            self._pending_functions.append(job)

    def _is_coroutine(self, job: Job) -> bool:
        """Return whether a job is for the loop; known once per task name."""
        task = getattr(job, "task", None)
        name: str = job.name if task is None else task.name
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = trace.is_coroutine_task(name)
        return kind

    def _waiting(self) -> int:
        return len(self._pending) + len(self._pending_functions)

    def flush_dispatch(self) -> None:
        """Hand over what was submitted, as much as may be in flight."""
        if not (self._pending or self._pending_functions or self._batch) or self._dispatching:
            return
        room = self.limit - len(self._handed) - len(self._batch)
        free_threads = MAX_THREADS - self._functions
        while self._pending_functions and room > 0 and free_threads > 0:
            if self._choose(self._pending_functions.popleft()):
                self._functions += 1
                room -= 1
                free_threads -= 1
        while self._pending and room > 0:
            if self._choose(self._pending.popleft()):
                room -= 1
        if self._batch and self.before_dispatch is not None:
            self._dispatching = True
            try:
                self.before_dispatch()
            finally:
                self._dispatching = False
        self._hand_over()

    def _choose(self, job: Job) -> bool:
        try:
            job.on_dispatched()
        except Exception:
            log_callback_error(job, "on_dispatched")
            return False
        self._batch.append(Ticket(job, time.time()))
        return True

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, []
        for ticket in batch:
            job = ticket.job
            self._handed[ticket.number] = ticket
            try:
                job.on_started(os.getpid(), ticket.started)
            except Exception:
                log_callback_error(job, "on_started")
            if self._is_coroutine(job):
                self._runner.put(ticket)
            else:
                self._runner.put_function(ticket)
        self._runner.post()

    def cancel_pending(self, job: Job) -> bool:
        """Take back ``job`` if it was not handed over; True if it never will be."""
        for waiting in (self._pending, self._pending_functions):
            for position, other in enumerate(waiting):
                if other is job:
                    del waiting[position]
                    return True
        for position, ticket in enumerate(self._batch):
            if ticket.job is job:
                del self._batch[position]
                if not self._is_coroutine(job):
                    self._functions -= 1
                return True
        return False

    def take_back(self) -> list[Job]:
        """Take back every job that was not handed over, oldest first."""
        jobs = [ticket.job for ticket in self._batch]
        jobs = [job for job in jobs if self.cancel_pending(job)]
        jobs += [*self._pending_functions, *self._pending]
        self._pending.clear()
        self._pending_functions.clear()
        return jobs

    def jobs(self) -> list[RunningJob]:
        """Return what is in flight."""
        return [
            RunningJob(ticket.job, os.getpid(), ticket.started) for ticket in self._handed.values()
        ]

    def free_slots(self) -> int:
        """Return how many more jobs would start at once."""
        return max(0, self.limit - len(self._handed) - self._waiting())

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """Cancel the coroutine of a job; the job gets ``on_lost(Terminated(signal))``.

        Parameters:
            pid: the job; all of them run in the same process.

        Raises:
            NotImplementedError: it runs in a thread, which can't be interrupted.
        """
        ticket = next((each for each in self._handed.values() if each.job is pid), None)
        if ticket is None:
            return
        if not self._is_coroutine(ticket.job):
            raise NotImplementedError(
                f"{ticket.job.name} is a plain function: the thread that runs it can't be"
                " interrupted. Make it a coroutine function, or use the prefork pool."
            )
        self._runner.kill(ticket, int(signal or _TERM))

    def _collect(self) -> None:
        """Tell the jobs what was reported about them."""
        news = self._runner.news
        while news:
            ticket, limit, soft = news.popleft()
            job = ticket.job
            try:
                if soft:
                    job.on_limit(True, limit)
                    continue
                del self._handed[ticket.number]
                if not self._is_coroutine(job):
                    self._functions -= 1
                if limit:
                    job.on_limit(False, limit)
                elif ticket.raised is not None:
                    job.on_lost(ticket.raised)
                elif ticket.outcome is None:
                    job.on_lost(Terminated(ticket.signum))
                else:
                    job.on_outcome(ticket.outcome)
            except Exception:
                log_callback_error(job, "a callback")

    # -- callables

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
            error: BaseException | None = None
            try:
                apply_target(target, args or (), kwargs, callback, accept_callback)
            except BaseException as exc:
                error = exc
            result.settle(None, error)

        self._runner.steps.submit(call)
        return ApplyResult(result)

    def _get_info(self) -> dict[str, Any]:
        info = super()._get_info()
        loop = self._thread.loop if self._thread is not None else None
        info.update(
            {
                "max-concurrency": self.limit,
                "in-flight": len(self._handed),
                "threads": MAX_THREADS,
                "loop": f"{type(loop).__module__}.{type(loop).__qualname__}",
            }
        )
        return info


_TERM = signal.SIGTERM
