"""The solo pool: tasks run in the worker's own thread, one after the other.

For debugging and for tiny deployments; while a task runs the worker does nothing else.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from typing import Any

from taskq import signals
from taskq.app import trace
from taskq.concurrency.base import BasePool, apply_target, log_callback_error
from taskq.concurrency.executors import EXECUTE_TASK
from taskq.concurrency.jobs import Job, RunningJob, escaped
from taskq.concurrency.loop import PoolLoop
from taskq.concurrency.refusals import LimitRefusal
from taskq.concurrency.runtimes import Runtimes
from taskq.exceptions import WorkerShutdown, WorkerTerminate
from taskq.utils.coroutines import close_loop

__all__ = ("TaskPool",)

logger = logging.getLogger(__name__)


class TaskPool(BasePool):
    """Runs jobs in the thread that flushes them."""

    body_can_be_buffer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_apply = apply_target  # type: ignore[method-assign]
        self.limit = 1
        self._pending: deque[Job] = deque()
        self._runtimes = Runtimes()
        # Acknowledged, or about to be, and not begun.
        self._batch: list[Job] = []
        self._running: RunningJob | None = None
        self._refusal = LimitRefusal("solo", self.options)
        self._loop: PoolLoop | None = None

    def on_start(self) -> None:
        """Become a process that runs tasks."""
        initargs: tuple[Any, ...] = self.options.get("initargs") or ()
        app = self.app if self.app is not None else (initargs[0] if initargs else None)
        if app is not None and self.executor.name == EXECUTE_TASK:
            trace.setup_worker_optimizations(app, initargs[1] if len(initargs) > 1 else None)
            trace.limit_coroutines(self.options.get("soft_timeout"), self.options.get("timeout"))
        signals.worker_process_init.send(sender=self._node_name())

    def on_stop(self) -> None:
        """Finish what was submitted."""
        self.flush()
        self._leave_loop()
        signals.worker_process_shutdown.send(sender=self._node_name(), pid=os.getpid(), exitcode=0)
        close_loop()

    def on_terminate(self) -> None:
        """Begin nothing more."""
        self._leave_loop()

    def _leave_loop(self) -> None:
        if self._loop is not None:
            self._loop.close()
            self._loop = None

    def flush(self) -> None:
        """Run everything that was submitted."""
        while (self._pending or self._batch) and self._running is None:
            self.flush_dispatch()

    def register_with_event_loop(self, loop: Any) -> None:
        """Run jobs from ``loop``, a few per turn, so that the worker can do its other work."""
        if self._loop is None:
            self._loop = PoolLoop()
        self._loop.attach(loop, self.flush_dispatch)

    def submit(self, job: Job) -> None:
        """Run ``job`` at the next flush or later."""
        self._refusal.check(job)
        self._pending.append(job)

    def flush_dispatch(self) -> None:
        """Run the next job; more than one when they are short."""
        if not (self._pending or self._batch) or self._running is not None:
            return
        if self._batch:
            # Chosen before, when acknowledging failed.
            batch = self._batch
        else:
            batch = self._batch = self._choose()
        if batch and self.before_dispatch is not None:
            self.before_dispatch()
        self._batch = []
        for job in batch:
            self._run(job)
        if self._pending and self._loop is not None:
            # Let the event loop turn, and come back.
            self._loop.wake()

    def cancel_pending(self, job: Job) -> bool:
        """Take back ``job`` if it has not begun; True if it never will."""
        waiting: deque[Job] | list[Job]
        for waiting in (self._batch, self._pending):
            for position, other in enumerate(waiting):
                if other is job:
                    del waiting[position]
                    return True
        return False

    def take_back(self) -> list[Job]:
        """Take back every job that has not begun, oldest first."""
        jobs = [*self._batch, *self._pending]
        self._batch.clear()
        self._pending.clear()
        return jobs

    def jobs(self) -> list[RunningJob]:
        """Return the job that is running, if the caller is called by it."""
        return [self._running] if self._running is not None else []

    def free_slots(self) -> int:
        """Return 1 if a job would start at once, else 0."""
        return int(self._running is None and not self._pending)

    def _choose(self) -> list[Job]:
        """Take one job, and further ones while all of them are short."""
        batch: list[Job] = []
        while self._pending and len(batch) <= self._runtimes.window(self._pending[0].name):
            job = self._pending.popleft()
            try:
                job.on_dispatched()
            except Exception:
                log_callback_error(job, "on_dispatched")
                continue
            batch.append(job)
            if not self._runtimes.window(job.name):
                break
        return batch

    def _run(self, job: Job) -> None:
        now = time.time()
        self._running = RunningJob(job, os.getpid(), now)
        try:
            job.on_started(os.getpid(), now)
            try:
                outcome = self.executor.execute(job.payload)
            except (WorkerShutdown, WorkerTerminate):
                raise
            except BaseException as exc:
                job.on_lost(escaped(exc))
                return
            self._runtimes.observe(job.name, outcome.runtime)
            job.on_outcome(outcome)
        except Exception:
            log_callback_error(job, "a callback")
        finally:
            self._running = None

    def _get_info(self) -> dict[str, Any]:
        info = super()._get_info()
        info.update(
            {
                "max-concurrency": 1,
                "processes": [os.getpid()],
                "max-tasks-per-child": None,
                "put-guarded-by-semaphore": True,
                "timeouts": (),
            }
        )
        return info
