"""The interface between the worker and every pool, with defaults that suit third-party pools.

A pool class overrides the ``on_*`` hooks; one that only has ``on_apply`` can run tasks already.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

from billiard.einfo import ExceptionInfo

from taskq.concurrency.executors import EXECUTE_TASK, Executor, load_executor
from taskq.concurrency.jobs import Job, RunningJob, escaped, exception_info, original
from taskq.exceptions import WorkerShutdown, WorkerTerminate
from taskq.utils.timer2 import Timer

__all__ = ("BasePool", "Job", "RunningJob", "apply_target")

logger = logging.getLogger(__name__)


def apply_target(
    target: Callable[..., Any],
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    callback: Callable[..., Any] | None = None,
    accept_callback: Callable[..., Any] | None = None,
    pid: int | None = None,
    getpid: Callable[[], int] = os.getpid,
    propagate: tuple[type[BaseException], ...] = (),
    monotonic: Callable[[], float] = time.monotonic,
    **_: Any,
) -> None:
    """Call ``target`` here and now, as pools without processes do, and report to the callbacks.

    Parameters:
        target: what to call, with ``args`` and ``kwargs``.
        callback: called with the return value, or with an ExceptionInfo when a
            BaseException that is no Exception came out (see `escaped`).
        accept_callback: called first, with the pid and the monotonic time.
        pid: the pid to report; ``getpid()`` when None.
        propagate: exceptions that are the caller's business even so.

    Raises:
        Exception: whatever ordinary exception ``target`` raises.
    """
    if accept_callback is not None:
        accept_callback(pid or getpid(), monotonic())
    try:
        value = target(*args, **(kwargs or {}))
    except (Exception, WorkerShutdown, WorkerTerminate):
        raise
    except BaseException as exc:
        if propagate and isinstance(exc, propagate):
            raise
        value = exception_info(escaped(exc))
    if callback is not None:
        callback(value)


class BasePool:
    """A pool of workers, whatever they are made of.

    Parameters:
        limit: number of tasks that run at the same time.
        putlocks: passed on to ``on_apply`` as ``waitforslot``.
        forking_enable: whether the pool may fork.
        callbacks_propagate: exceptions that callbacks may raise through the pool.
        app: the app whose tasks are run.
        **options: what the concrete pool understands.
    """

    RUN = 0x1
    CLOSE = 0x2
    TERMINATE = 0x3

    #: The timer class that suits the pool.
    Timer = Timer

    #: Tasks at the same time when nobody says how many; None for the number of CPUs.
    default_concurrency: int | None = None
    #: Whether handlers of signals may touch the pool.
    signal_safe = True
    #: Whether the workers are greenlets.
    is_green = False
    #: Whether waiting for a result inside a task blocks the worker it runs in.
    task_join_will_block = True
    #: Whether message bodies may be handed over as buffers.
    body_can_be_buffer = False
    #: Whether `terminate_job` wants the job where others take the pid.
    terminates_by_job = False
    #: Whether the worker must limit what it submits with its semaphore.
    uses_semaphore = False
    #: Whether tasks run in processes that are replaced after so many tasks, or so much memory.
    replaces_processes = False

    #: Called once per batch of jobs, after their ``on_dispatched()`` and before any is handed over.
    before_dispatch: Callable[[], None] | None = None

    _state: int | None = None
    _pool: Any = None
    _does_debug = True

    def __init__(
        self,
        limit: int | None = None,
        putlocks: bool = True,
        forking_enable: bool = True,
        callbacks_propagate: tuple[type[BaseException], ...] = (),
        app: Any = None,
        **options: Any,
    ) -> None:
        self.limit = limit
        self.putlocks = putlocks
        self.options = options
        self.forking_enable = forking_enable
        self.callbacks_propagate = callbacks_propagate
        self.app = app
        self._jobs: dict[int, RunningJob] = {}
        self._submitted = 0

    # -- life

    def start(self) -> None:
        """Start the pool."""
        self._does_debug = logger.isEnabledFor(logging.DEBUG)
        self.on_start()
        self._state = self.RUN

    def close(self) -> None:
        """Take no more work."""
        self._state = self.CLOSE
        self.on_close()

    def stop(self) -> None:
        """Stop when the running tasks are done."""
        self.on_stop()
        self._state = self.TERMINATE

    def terminate(self) -> None:
        """Stop now; what runs is lost."""
        self._state = self.TERMINATE
        self.on_terminate()

    def restart(self) -> None:
        """Replace the workers by new ones."""
        raise NotImplementedError(f"{type(self)} does not implement restart")

    def did_start_ok(self) -> bool:
        """Return whether the pool came up."""
        return True

    def flush(self) -> None:
        """Wait for what was handed over; nothing to do unless the pool buffers."""

    def maintain_pool(self, *args: Any, **kwargs: Any) -> None:
        """Repair the pool; for pools that don't do so by themselves."""

    def register_with_event_loop(self, loop: Any) -> None:
        """Follow kombu's hub ``loop``; may be called again after the hub was reset."""

    def on_start(self) -> None:
        """Start the workers."""

    def on_close(self) -> None:
        """The pool takes no more work."""

    def on_stop(self) -> None:
        """Wait for running tasks, then end the workers."""

    def on_terminate(self) -> None:
        """End the workers now."""

    # -- callables

    def apply_async(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Call ``target(*args, **kwargs)`` in the pool.

        Options are ``callback``, ``accept_callback``, ``error_callback``, ``timeout_callback``,
        ``soft_timeout`` and ``timeout`` (seconds), and ``correlation_id``, as far as the pool
        supports them.
        """
        if self._does_debug:
            logger.debug("Applying %s with %r %r", target, args, kwargs)
        return self.on_apply(
            target,
            args if args is not None else [],
            kwargs if kwargs is not None else {},
            waitforslot=self.putlocks,
            callbacks_propagate=self.callbacks_propagate,
            **options,
        )

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run one call; the hook that every third-party pool has."""

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """Kill what the worker with ``pid`` is running."""
        raise NotImplementedError(f"{type(self)} does not implement kill_job")

    def on_soft_timeout(self, job: Any) -> None:
        """A soft time limit was hit."""

    def on_hard_timeout(self, job: Any) -> None:
        """A hard time limit was hit."""

    # -- jobs: the worker's requests

    @cached_property
    def executor(self) -> Executor:
        """The function that runs task payloads; the option ``executor`` names another."""
        return load_executor(self.options.get("executor") or EXECUTE_TASK)

    def submit(self, job: Job) -> None:
        """Run ``job``, reporting to its methods. This default goes through ``apply_async``."""
        job.on_dispatched()
        if self.before_dispatch is not None:
            self.before_dispatch()
        number = self._submitted = self._submitted + 1
        self._jobs[number] = RunningJob(job, 0, 0.0)
        self.apply_async(
            self.executor.execute,
            (job.payload,),
            {},
            accept_callback=partial(self._job_accepted, number, job),
            callback=partial(self._job_ended, number, job),
            error_callback=partial(self._job_ended, number, job),
            soft_timeout=job.soft_limit,
            timeout=job.hard_limit,
            correlation_id=job.id,
        )

    def flush_dispatch(self) -> None:
        """Hand over what was submitted; the worker calls it at the end of each loop turn."""

    def cancel_pending(self, job: Job) -> bool:
        """Take back ``job`` if it has not started; True if it never will."""
        return False

    def take_back(self) -> list[Job]:
        """Take back every job that has not started, oldest first."""
        return []

    def jobs(self) -> list[RunningJob]:
        """Return the jobs that are running."""
        return [running for running in list(self._jobs.values()) if running.started]

    def free_slots(self) -> int:
        """Return how many more jobs could start at once."""
        return max(0, self.num_processes - len(self._jobs))

    def _job_accepted(self, number: int, job: Job, pid: int, *_: Any) -> None:
        now = time.time()
        self._jobs[number] = RunningJob(job, pid, now)
        job.on_started(pid, now)

    def _job_ended(self, number: int, job: Job, value: Any) -> None:
        self._jobs.pop(number, None)
        if isinstance(value, ExceptionInfo):
            job.on_lost(original(value.exception))
        else:
            job.on_outcome(value)

    # -- facts

    def _node_name(self) -> str | None:
        """Return the name of the worker, None for a pool without one."""
        initargs: tuple[Any, ...] = self.options.get("initargs") or ()
        return initargs[1] if len(initargs) > 1 else None

    @property
    def info(self) -> dict[str, Any]:
        """What ``inspect stats`` shows about the pool."""
        return self._get_info()

    def _get_info(self) -> dict[str, Any]:
        cls = type(self)
        return {
            "implementation": f"{cls.__module__}:{cls.__name__}",
            "max-concurrency": self.limit,
        }

    @property
    def active(self) -> bool:
        """Whether the pool is running."""
        return self._state == self.RUN

    @property
    def num_processes(self) -> int:
        """Number of tasks that can run at the same time."""
        return self.limit or 0


def log_callback_error(job: Job, hook: str) -> None:
    """Log that a job's hook raised; a broken hook must not take the pool with it."""
    logger.error("%s of %r failed", hook, job, exc_info=sys.exc_info())
