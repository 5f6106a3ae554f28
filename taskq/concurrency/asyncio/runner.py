"""Runs tickets: coroutines on the loop, plain functions and what blocks in threads.

1. The pool puts tickets into the inbox and wakes the loop, once for many.
2. The loop awaits the body of each task.
3. What is left goes where it may block: plain results to the settler, everything else to a thread.
4. How it ended goes into the news, and the worker's thread is woken, once for many.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from typing import Any

from taskq.app import trace
from taskq.app.trace.child import begin_coroutine, undecodable
from taskq.backends.ahead import ahead
from taskq.backends.core import BackendCore
from taskq.concurrency.asyncio.loopthread import LoopThread
from taskq.concurrency.asyncio.settler import Settler
from taskq.concurrency.asyncio.threads import Threads
from taskq.concurrency.asyncio.ticket import Ticket
from taskq.concurrency.jobs import escaped
from taskq.utils.interruptible import CLEANUP_GRACE, HardLimitHit

logger = logging.getLogger(__name__)

#: Threads for handlers, receivers and result stores, at most.
STEP_THREADS = 16
#: Index of the body in a payload, and the size in bytes above which it is decoded in a thread.
BODY, LARGE_BODY = 3, 64 * 1024


class Runner:
    """What runs in the pool's other threads.

    - thread: the loop's; wake: makes the worker's thread look at `news`.
    - threads: most threads for tasks that are plain functions.
    - soft, hard: the worker's default time limits in seconds.
    """

    def __init__(
        self,
        thread: LoopThread,
        wake: Callable[[], None],
        *,
        threads: int,
        soft: float | None,
        hard: float | None,
    ) -> None:
        self._thread = thread
        self._loop = thread.loop
        self._wake = wake
        self._soft, self._hard = soft, hard
        self._inbox: deque[Ticket] = deque()
        self._posted = False
        #: Ticket, limit in seconds that was hit or 0, whether that was the soft one.
        self.news: deque[tuple[Ticket, float, bool]] = deque()
        self.steps = Threads("asyncio-steps", STEP_THREADS, self._loop)
        self._functions = Threads("asyncio-functions", threads, self._loop)
        self._settler = Settler(ahead, self._report_all)

    def start(self) -> None:
        """Start what must run before the first task comes."""
        self._settler.start()

    def end(self) -> None:
        """End the threads, when the loop has ended."""
        self._settler.end()
        self.steps.end()
        self._functions.end()

    # -- called in the worker's thread

    def put(self, ticket: Ticket) -> None:
        """Take a coroutine task; `post` starts it."""
        self._inbox.append(ticket)

    def put_function(self, ticket: Ticket) -> None:
        """Run a plain function in a thread."""
        self._functions.submit(self._run_function, ticket)

    def post(self) -> None:
        """Make the loop look into the inbox."""
        if self._inbox and not self._posted:
            self._posted = True
            self._thread.post(self._receive)

    def kill(self, ticket: Ticket, signum: int) -> None:
        """Cancel a coroutine task, and report it as terminated when it has ended."""
        if not ticket.signum:
            ticket.signum = signum
            self._thread.post(self._cancel, ticket)

    # -- in the loop's thread

    def _receive(self) -> None:
        # Cleared before looking: a ticket that comes now is not lost.
        self._posted = False
        inbox, create_task = self._inbox, self._loop.create_task
        while inbox:
            ticket = inbox.popleft()
            job = ticket.job
            ticket.coroutine = create_task(self._run(ticket), name=f"{job.name}[{job.id}]")

    async def _run(self, ticket: Ticket) -> None:
        """Await the body of a task, then have it settled."""
        try:
            payload = ticket.job.payload
            try:
                if len(payload[BODY]) > LARGE_BODY:
                    begun = await self.steps.run(begin_coroutine, payload)
                else:
                    begun = begin_coroutine(payload)
            except Exception as exc:
                self.steps.submit(self._settle_undecodable, ticket, payload, exc)
                return
            tracer, args, kwargs, request = begun
            execution = await tracer(
                payload[1],
                args,
                kwargs,
                request,
                offload=self.steps.run,
                soft=self._soft,
                hard=self._hard,
                on_soft=lambda limit: self._report_soft(ticket, limit),
                killed=ticket.is_killed,
            )
        except HardLimitHit as exc:
            self._report(ticket, exc.args[0])
        except CancelledError:
            # Told to end, or the pool itself ends.
            self._report(ticket)
        except BaseException as exc:
            ticket.raised = escaped(exc)
            self._report(ticket)
        else:
            if ticket.is_killed():
                # Whatever it returned or raised when it was told to end.
                self._report(ticket)
            else:
                self._settle(ticket, execution)

    def _settle(self, ticket: Ticket, execution: Any) -> None:
        """Choose where the rest is done."""
        if not execution.is_plain:
            self.steps.submit(self._settle_in_thread, ticket, execution.settle)
        elif execution.is_ignored:
            ticket.settle(execution.settle_plainly)
            self._report(ticket)
        elif _stores_ahead(execution.plan.backend):
            self._settler.put(ticket, execution)
        else:
            self.steps.submit(self._settle_in_thread, ticket, execution.settle)

    def _cancel(self, ticket: Ticket) -> None:
        if ticket.coroutine is not None:
            ticket.coroutine.cancel()
            self._loop.call_later(CLEANUP_GRACE, self._abandon, ticket)

    def _abandon(self, ticket: Ticket) -> None:
        if not ticket.ended and ticket.coroutine is not None and not ticket.coroutine.done():
            logger.error(
                "%s did not end %s seconds after it was cancelled: abandoned",
                ticket.coroutine.get_name(),
                CLEANUP_GRACE,
            )
            self._report(ticket)

    # -- in any thread

    def _run_function(self, ticket: Ticket) -> None:
        try:
            ticket.outcome = trace.execute_task(ticket.job.payload)
        except BaseException as exc:
            ticket.raised = escaped(exc)
        self._report(ticket)

    def _settle_in_thread(self, ticket: Ticket, settle: Callable[[], Any]) -> None:
        ticket.settle(settle)
        self._report(ticket)

    def _settle_undecodable(self, ticket: Ticket, payload: tuple[Any, ...], exc: Exception) -> None:
        try:
            ticket.outcome = undecodable(None, payload, exc)
        except BaseException as error:
            ticket.raised = escaped(error)
        self._report(ticket)

    def _report_soft(self, ticket: Ticket, limit: float) -> None:
        self.news.append((ticket, limit, True))
        self._wake()

    def _report(self, ticket: Ticket, limit: float = 0.0) -> None:
        """Tell the worker's thread how a ticket ended, once."""
        if not ticket.ended:
            ticket.ended = True
            self.news.append((ticket, limit, False))
            self._wake()

    def _report_all(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self._report(ticket)


def _stores_ahead(backend: Any) -> bool:
    """Return whether a backend may store many results in one round trip."""
    return type(backend).store_ahead is not BackendCore.store_ahead
