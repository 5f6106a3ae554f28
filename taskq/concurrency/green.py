"""What the gevent and eventlet pools share: every job runs in a greenlet of the loop's own thread.

The standard library must be patched before anything else is imported; ``taskq worker -P gevent``
does so.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, Terminated

from taskq.concurrency import thread
from taskq.concurrency.base import log_callback_error
from taskq.concurrency.jobs import Job, escaped
from taskq.concurrency.tickets import Ticket, claim
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.coroutines import refuse_coroutines


class HardLimitHit(BaseException):
    """Ends a job's greenlet whose hard time limit is over."""


class JobKilled(BaseException):
    """Ends a job's greenlet on request.

    Parameters:
        signum: the signal that was asked for; greenlets know none, jobs are told it.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def missing(library: str, error: ImportError) -> ImproperlyConfigured:
    """Return the error for a pool whose library is not installed."""
    return ImproperlyConfigured(
        f"The {library} pool needs {library}, which can't be imported ({error})."
        f" Install it: pip install taskq[{library}]"
    )


class GreenPool(thread.TaskPool):
    """A pool of greenlets; subclasses say how their library starts and ends one."""

    is_green = True
    signal_safe = False
    task_join_will_block = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._greenlets: dict[int, tuple[Any, Ticket]] = {}
        self._soft = self.options.get("soft_timeout") or None
        self._hard = self.options.get("timeout") or None

    def _settle_coroutines(self) -> None:
        """Greenlets share a thread, and a thread runs one event loop."""
        refuse_coroutines(
            "Coroutine tasks can't run in greenlets: start a worker for them with -P asyncio"
        )

    # -- the library

    @abstractmethod
    def spawn(self, function: Callable[..., None], *args: Any) -> Any:
        """Start a greenlet soon, and return it."""

    @abstractmethod
    def spawn_later(self, seconds: float, function: Callable[..., None], *args: Any) -> Any:
        """Call ``function`` in ``seconds`` seconds; return something to ``cancel()``."""

    @abstractmethod
    def cancel(self, timer: Any) -> None:
        """Don't call what ``spawn_later()`` was to call."""

    @abstractmethod
    def throw(self, greenlet: Any, exc: BaseException) -> None:
        """Raise ``exc`` in ``greenlet`` the next time it runs."""

    # -- jobs

    def submit(self, job: Job) -> None:
        """Run ``job`` in a greenlet, at the next flush or later."""
        self._pending.append(job)

    def terminate_job(self, pid: Any, signal: Any = None) -> None:
        """Kill the greenlet that runs a job; the job gets ``on_lost(Terminated(signal))``.

        Parameters:
            pid: what ``on_started`` reported as pid, or the job.
        """
        for greenlet, ticket in list(self._greenlets.values()):
            if ticket.job is not None and (ticket.worker == pid or ticket.job is pid):
                self.throw(greenlet, JobKilled(int(signal or 15)))

    def on_terminate(self) -> None:
        """Kill all greenlets."""
        super().on_terminate()
        for greenlet, _ in list(self._greenlets.values()):
            self.throw(greenlet, JobKilled(15))

    def shrink(self, n: int = 1) -> None:
        """Run ``n`` jobs less at the same time.

        Raises:
            ValueError: none would be left.
        """
        if n >= self.limit:
            raise ValueError(f"Can't shrink the pool by {n}: it has {self.limit} greenlets")
        self.limit -= n

    # -- greenlets

    def _put(self, ticket: Ticket) -> None:
        self.spawn(self._run, ticket)

    def _end_threads(self) -> None:
        """There are none; greenlets end with their jobs."""

    def _run(self, ticket: Ticket) -> None:
        if ticket.job is None:
            super()._run(ticket)
        elif claim(ticket):
            self._run_job(ticket, ticket.job)

    def _run_job(self, ticket: Ticket, job: Job) -> None:
        greenlet = self.current()
        ticket.worker = id(greenlet)
        ticket.started = time.time()
        self._greenlets[id(ticket)] = (greenlet, ticket)
        timers = self._start_timers(ticket, job, greenlet)
        self._news.append((ticket, False))
        self._loop.wake()
        try:
            ticket.outcome = self.executor.execute(job.payload)
        except HardLimitHit:
            ticket.limit_hit = True
        except JobKilled as exc:
            ticket.raised = Terminated(exc.signum)
        except BaseException as exc:
            ticket.raised = escaped(exc)
        finally:
            for timer in timers:
                self.cancel(timer)
            del self._greenlets[id(ticket)]
        self._news.append((ticket, True))
        self._loop.wake()

    @abstractmethod
    def current(self) -> Any:
        """Return the running greenlet."""

    def _start_timers(self, ticket: Ticket, job: Job, greenlet: Any) -> list[Any]:
        soft = self._soft if job.soft_limit is None else job.soft_limit
        hard = self._hard if job.hard_limit is None else job.hard_limit
        timers = []
        if soft:
            timers.append(self.spawn_later(soft, self._soft_limit, job, soft, greenlet))
        if hard:
            timers.append(self.spawn_later(hard, self._hard_limit, ticket, job, hard, greenlet))
        return timers

    def _soft_limit(self, job: Job, limit: float, greenlet: Any) -> None:
        _tell_limit(job, True, limit)
        self.throw(greenlet, SoftTimeLimitExceeded())

    def _hard_limit(self, ticket: Ticket, job: Job, limit: float, greenlet: Any) -> None:
        # The greenlet may be about to end by itself; whoever comes first counts.
        if id(ticket) in self._greenlets:
            ticket.limit_hit = True
            _tell_limit(job, False, limit)
            self.throw(greenlet, HardLimitHit())


def _tell_limit(job: Job, soft: bool, limit: float) -> None:
    try:
        job.on_limit(soft, limit)
    except Exception:
        log_callback_error(job, "on_limit")
