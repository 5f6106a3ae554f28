"""The prefork pool: a number of child processes, kept alive, fed with jobs.

The parts do the work: nursery (birth), dispatcher (jobs out), outcome reader (outcomes in),
limits and killer (interruption), reaper (death). This class ties them together for the worker.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from signal import SIGUSR1
from typing import Any
from uuid import uuid4

from billiard.exceptions import Terminated

from taskq import signals
from taskq.concurrency.base import BasePool, log_callback_error
from taskq.concurrency.jobs import CallJob, Job, PoolResult, RunningJob
from taskq.concurrency.loop import PoolLoop
from taskq.concurrency.prefork.channel import send_packet
from taskq.concurrency.prefork.children import Child, Doom, State
from taskq.concurrency.prefork.dispatch import Dispatcher
from taskq.concurrency.prefork.frames import encode_stop
from taskq.concurrency.prefork.kill import Killer, signal_number
from taskq.concurrency.prefork.limits import Limits
from taskq.concurrency.prefork.nursery import Nursery, StillbirthError, upbringing
from taskq.concurrency.prefork.outcomes import OutcomeReader
from taskq.concurrency.prefork.page import ANY_TASK, TERMINATE
from taskq.concurrency.prefork.reaper import Reaper
from taskq.concurrency.prefork.stats import write_stats
from taskq.exceptions import WorkerShutdown

logger = logging.getLogger(__name__)

#: Seconds that children have to exit by themselves once they have nothing to do.
EXIT_TIMEOUT = 10.0
#: Seconds that running tasks have for their cleanup when the pool is terminated.
TERMINATE_TIMEOUT = 3.0


class TaskPool(BasePool):
    """A pool of child processes.

    Options (besides those of :class:`BasePool`):
        initargs: ``(app, hostname)``.
        timeout, soft_timeout: default time limits in seconds.
        maxtasksperchild: tasks after which a child is replaced.
        max_memory_per_child: resident memory in kB above which a child is replaced.
        proc_alive_timeout: seconds a child may take to come up.
        start_method: ``fork``, ``spawn`` or ``forkserver``; default is
            ``worker_pool_start_method``, or fork.
        executor: dotted name of the function that runs payloads.
    """

    uses_semaphore = False
    replaces_processes = True

    #: Kept for code that reads it; numbers are in ``info["writes"]``.
    write_stats: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        initargs: tuple[Any, ...] = self.options.get("initargs") or ()
        if initargs and self.app is None:
            self.app = initargs[0]
        self._hostname: str | None = initargs[1] if len(initargs) > 1 else None
        self.limit = self.limit or os.cpu_count() or 1
        self._loop = PoolLoop()
        self._limits = Limits(
            self._loop,
            lambda: self._children.values(),
            self._kill_for_limit,
            soft=self.options.get("soft_timeout"),
            hard=self.options.get("timeout"),
        )
        self._dispatcher = Dispatcher(self._limits.watch)
        self._children = self._dispatcher.children
        self._killer = Killer(self._loop, self._drain, self._recall, self._dispatcher.cancel)
        self._started = False

    # -- life

    def on_start(self) -> None:
        """Start the children; they are ready a little later."""
        self._loop.open()
        self._reader = OutcomeReader(
            self._dispatcher, self.executor, on_ready=self._ready, on_leaving=self._leaving
        )
        self._reaper = Reaper(self._loop, self._dispatcher, self._reader, self._gone)
        self._nursery = Nursery(
            upbringing(self.app, self._hostname, self.executor.name, self.options),
            self._loop,
            self._children,
            born=self._watch,
            kill=lambda child: self._signal(child, signal.SIGKILL),
            disown=self._close_in_child,
            conceived=lambda: signals.worker_before_create_process.send(sender=self),
        )
        self._started = True
        # Garbage collections would write to every page with objects on it, in the children and
        # here, and so copy what they share.
        gc.freeze()
        self._nursery.fill(self.num_processes)

    def did_start_ok(self) -> bool:
        """Return whether any child is alive."""
        return bool(self._children)

    def register_with_event_loop(self, loop: Any) -> None:
        """Follow kombu's hub ``loop``; again after each reset of the hub."""
        self._loop.attach(loop, self.flush_dispatch)

    def on_stop(self) -> None:
        """Finish every job that was submitted, then end the children."""
        self._state = self.CLOSE
        while self._dispatcher.has_work():
            self.pump()
        self._end_children()

    def on_terminate(self) -> None:
        """End the children now.

        Jobs whose message was acknowledged get ``on_lost(Terminated)``: nobody else would ever
        hear of them. The others are told nothing: the broker delivers them again.
        """
        if not self._started:
            return
        self._nursery.stop()
        dispatched = self._dispatcher.take_back_dispatched()
        self._dispatcher.take_back()
        for child in self._children.values():
            child.state = State.LEAVING
            if child.queue:
                seq, job = child.queue[0]
                child.doom = Doom(seq, int(signal.SIGTERM), silent=not job.early_ack)
                child.page.slots[TERMINATE] = ANY_TASK
                self._signal(child, signal.SIGTERM)
            else:
                self._signal(child, signal.SIGKILL)
        self._pump_until_dead(TERMINATE_TIMEOUT)
        self._close()
        for job in dispatched:
            if job.early_ack:
                _lose(job, int(signal.SIGTERM))

    def restart(self) -> None:
        """Replace every child by a new one; running tasks are finished first."""
        self._nursery.renew()
        for child in list(self._children.values()):
            self._retire(child)
        self._nursery.fill(self._needed())

    def grow(self, n: int = 1) -> None:
        """Add ``n`` children."""
        self.limit = self.num_processes + n
        self._nursery.fill(self._needed())

    def shrink(self, n: int = 1) -> None:
        """Let ``n`` children go, idle ones first; busy ones finish their task.

        Raises:
            ValueError: no child would be left.
        """
        if n >= self.num_processes:
            raise ValueError(f"Can't shrink the pool by {n}: it has {self.num_processes} processes")
        self.limit = self.num_processes - n
        staying = [c for c in self._children.values() if c.state in (State.STARTING, State.UP)]
        for child in sorted(staying, key=lambda c: c.load)[: max(0, len(staying) - self.limit)]:
            self._retire(child)

    def flush(self) -> None:
        """Wait until everything that was submitted has ended."""
        while self._dispatcher.has_work():
            self.pump()

    def maintain_pool(self, *args: Any, **kwargs: Any) -> None:
        """Bury the dead and fill the pool; happens by itself, too."""
        for child in list(self._children.values()):
            self._reaper.look(child)
        self._nursery.fill(self._needed())

    def pump(self, timeout: float | None = None) -> None:
        """Turn the pool's own loop once: for waiting while the worker's loop does not run."""
        self._dispatcher.flush()
        self._loop.turn(timeout)
        self._dispatcher.flush()

    # -- jobs

    @property
    def before_dispatch(self) -> Callable[[], None] | None:
        """Called once per batch of jobs, before any is written to a child."""
        return self._dispatcher.before_dispatch

    @before_dispatch.setter
    def before_dispatch(self, callback: Callable[[], None] | None) -> None:
        self._dispatcher.before_dispatch = callback

    def submit(self, job: Job) -> None:
        """Run ``job`` in a child, at the next flush or later."""
        self._dispatcher.submit(job)

    def flush_dispatch(self) -> None:
        """Hand over what was submitted, as far as children can take it."""
        self._dispatcher.flush()

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        callback: Callable[..., Any] | None = None,
        error_callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        timeout_callback: Callable[..., Any] | None = None,
        soft_timeout: float | None = None,
        timeout: float | None = None,
        correlation_id: str | None = None,
        **_: Any,
    ) -> PoolResult:
        """Call ``target(*args, **kwargs)`` in a child; all of it must be picklable."""
        pump = self.pump if self._loop.in_owner_thread() else None
        result = PoolResult(correlation_id or str(uuid4()), pump)
        job = CallJob(
            target,
            tuple(args),
            dict(kwargs or {}),
            result,
            soft_limit=soft_timeout,
            hard_limit=timeout,
            accept_callback=accept_callback,
            callback=callback,
            error_callback=error_callback,
            timeout_callback=timeout_callback,
        )
        self._dispatcher.submit(job)
        self._loop.wake()
        return result

    def cancel_pending(self, job: Job) -> bool:
        """Take back ``job`` if no child has begun it; True if it never will."""
        return self._dispatcher.cancel(job)

    def take_back(self) -> list[Job]:
        """Take back every job that no child has begun, oldest first."""
        return self._dispatcher.take_back()

    def terminate_job(self, pid: int | Job, signal: int | str | None = None) -> None:
        """Kill the child that runs a job; the job gets ``on_lost(Terminated(signal))``.

        Parameters:
            pid: of the child, meaning whatever job it runs now; or the job. Nothing happens when
                there is no such child, or it runs nothing, or the job is not running.
            signal: number or name, SIGTERM by default. SIGTERM and SIGQUIT raise SystemExit
                inside the task, and are followed by SIGKILL if it does not end. SIGUSR1 raises
                SoftTimeLimitExceeded, which the task may handle.
        """
        signum = signal_number(signal)
        for child in list(self._children.values()):
            if not child.queue:
                continue
            if child.pid == pid or child.queue[0][1] is pid:
                if signum == SIGUSR1:
                    self._limits.interrupt(child, child.queue[0][0])
                else:
                    self._killer.terminate(child, signum)
                return

    def jobs(self) -> list[RunningJob]:
        """Return what the children are running."""
        return [
            RunningJob(child.queue[0][1], child.pid, child.head_started)
            for child in self._children.values()
            if child.queue
        ]

    def free_slots(self) -> int:
        """Return how many more jobs would start at once."""
        return max(0, self._dispatcher.idle - self._dispatcher.waiting)

    # -- facts

    def _get_info(self) -> dict[str, Any]:
        info = super()._get_info()
        info.update(
            {
                "processes": [child.pid for child in self._children.values()],
                "max-tasks-per-child": self.options.get("maxtasksperchild") or "N/A",
                "put-guarded-by-semaphore": self.putlocks,
                "timeouts": (self._limits.soft or 0, self._limits.hard or 0),
                "writes": write_stats(self._dispatcher.writes, self._children.values()),
            }
        )
        return info

    # -- children

    def _watch(self, child: Child) -> None:
        self._loop.add_reader(child.main_end.fileno(), self._reader.read, child)
        self._reaper.watch(child)

    def _ready(self, child: Child) -> None:
        if child.state is State.STARTING:
            self._nursery.ready(child)

    def _leaving(self, child: Child) -> None:
        """``child`` reads nothing more: its unread jobs go to others, and a new child comes."""
        if child.state is State.UP:
            child.state = State.LEAVING
        self._recall(child)
        self._nursery.fill(self._needed())

    def _retire(self, child: Child) -> None:
        """Make ``child`` leave when it has finished its task."""
        if child.state not in (State.STARTING, State.UP):
            return
        child.state = State.LEAVING
        self._dispatcher.openings.withdraw(child)
        self._recall(child)
        try:
            send_packet(child.main_end, 0, encode_stop())
        except OSError as exc:
            logger.debug("Can't tell %r to leave: %s", child, exc)

    def _recall(self, child: Child) -> None:
        self._dispatcher.give_back(self._dispatcher.recall(child))

    def _drain(self, child: Child) -> None:
        self._reader.read(child, to_the_end=True)

    def _signal(self, child: Child, signum: int) -> None:
        if child.exitcode is None:
            os.kill(child.pid, signum)

    def _kill_for_limit(self, child: Child, seq: int, limit: float) -> None:
        job = child.queue[0][1]

        def confirmed() -> None:
            child.queue.clear()
            child.load = 0
            try:
                job.on_limit(False, limit)
            except Exception:
                log_callback_error(job, "on_limit")

        self._killer.strike(child, seq, signal.SIGKILL, confirmed)

    def _gone(self, child: Child, before: State) -> None:
        """Replace a child that died."""
        if before is State.STARTING and self._needed():
            try:
                self._nursery.stillborn(child, self.num_processes)
            except StillbirthError as exc:
                logger.critical("%s Giving up.", exc)
                raise WorkerShutdown(os.EX_SOFTWARE) from exc
        self._nursery.fill(self._needed())

    def _needed(self) -> int:
        """Return how many children there should be."""
        if self._state == self.TERMINATE:
            return 0
        closing = self._state == self.CLOSE
        return 0 if closing and not self._dispatcher.has_work() else self.num_processes

    # -- the end

    def _end_children(self) -> None:
        if not self._started:
            return
        self._nursery.stop()
        for child in list(self._children.values()):
            self._retire(child)
        self._pump_until_dead(EXIT_TIMEOUT)
        self._close()

    def _pump_until_dead(self, timeout: float) -> None:
        """Wait for the children's ends, then kill those that are left."""
        deadline = time.monotonic() + timeout
        killed = False
        while self._children:
            remaining = deadline - time.monotonic()
            if remaining <= 0 and not killed:
                killed = True
                for child in self._children.values():
                    logger.warning("%s pid:%d does not end: killing it", child.name, child.pid)
                    self._signal(child, signal.SIGKILL)
            self._loop.turn(None if killed else max(0.0, remaining))

    def _close(self) -> None:
        self._started = False
        gc.unfreeze()
        self._loop.close()
        self._dispatcher.files.close()

    def _close_in_child(self) -> None:
        """Close, in a fresh fork, what belongs to the main process."""
        for sibling in self._children.values():
            sibling.close()
        self._dispatcher.files.close()
        self._loop.close_in_child()


def _lose(job: Job, signum: int) -> None:
    try:
        job.on_lost(Terminated(signum))
    except Exception:
        log_callback_error(job, "on_lost")
