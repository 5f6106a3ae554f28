"""Reads what children report and hands it to the jobs.

Called by the loop whenever a child's socket is readable; half of the main process's hot path.
"""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from marshal import loads
from typing import Any

from taskq.concurrency.base import log_callback_error
from taskq.concurrency.executors import Executor
from taskq.concurrency.jobs import FAILED, exception_info
from taskq.concurrency.prefork import frames
from taskq.concurrency.prefork.children import NEVER, Child
from taskq.concurrency.prefork.dispatch import Dispatcher
from taskq.utils.serialization import get_pickled_exception

logger = logging.getLogger(__name__)

#: Most packets read from one child before the others get their turn.
MAX_PER_TURN = 64


class LostOutcome(Exception):
    """A task ended, but what it ended with could not be read in the main process."""


@dataclass(frozen=True, slots=True)
class Escaped:
    """Stands for the outcome that a task has not, because its executor raised."""

    exc: BaseException


class OutcomeReader:
    """Turns packets from children into calls of job methods.

    Parameters:
        dispatcher: where children get their next jobs from.
        executor: holds the outcome class.
        on_ready: called with a child that finished its initialisation.
        on_leaving: called with a child that announced it reads nothing more.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        executor: Executor,
        on_ready: Callable[[Child], None],
        on_leaving: Callable[[Child], None],
    ) -> None:
        self._dispatcher = dispatcher
        self._executor = executor
        self._outcome = executor.outcome
        self._on_ready = on_ready
        self._on_leaving = on_leaving
        self._buffer = bytearray(frames.BUFFER_SIZE)

    def read(self, child: Child, *, to_the_end: bool = False) -> None:
        """Handle what ``child`` has sent: a bounded number of packets, or all of them."""
        dispatcher = self._dispatcher
        receive, buffer, queue = child.main_end.recv_into, self._buffer, child.queue
        observe = dispatcher.runtimes.observe
        dispatcher.openings.withdraw(child)
        window, done_kind = dispatcher.runtimes.window, frames.DONE
        now = 0.0
        leaving = False
        budget = MAX_PER_TURN
        while budget or to_the_end:
            try:
                if not receive(buffer):
                    break
            except (BlockingIOError, ConnectionError):
                break
            budget -= 1
            seq, kind, value, runtime = loads(buffer)
            if kind == done_kind:
                outcome = self._outcome(0, value, runtime)
            else:
                leaving = leaving or bool(kind & frames.LEAVING)
                outcome = self._decode(child, seq, kind, value, runtime)
                if outcome is None:
                    continue
            if not queue or queue[0][0] != seq:
                logger.error("Outcome %d of %r belongs to none of its tasks", seq, child)
                continue
            job = queue.popleft()[1]
            if child.files and seq in child.files:
                dispatcher.files.release(child.files.pop(seq))
            child.load -= 1
            child.doom = None
            observe(job.name, runtime)
            try:
                if type(outcome) is Escaped:
                    job.on_lost(outcome.exc)
                else:
                    job.on_outcome(outcome)
            except Exception:
                log_callback_error(job, "on_outcome")
            if queue:
                head = queue[0][1]
                child.window = window(head.name)
                now = now or time.time()
                dispatcher.start_head(child, head, now)
            else:
                child.soft_at = child.hard_at = NEVER
                if not to_the_end:
                    # Nothing else can be on its way.
                    break
        if leaving:
            self._on_leaving(child)
        else:
            dispatcher.openings.admit(child)

    def _decode(self, child: Child, seq: int, kind: int, value: Any, runtime: float) -> Any:
        """Return the outcome of a packet that is not the plain kind; None when it holds none."""
        if kind == frames.READY:
            self._on_ready(child)
            return None
        if kind == frames.FRAGMENT:
            child.fragments.append(value)
            return None
        if kind & ~frames.LEAVING == frames.LAST_FRAGMENT:
            whole = b"".join([*child.fragments, value])
            child.fragments.clear()
            _, kind, value, runtime = loads(whole)
        if kind & ~frames.LEAVING == frames.DONE:
            return self._outcome(0, value, runtime)
        try:
            if kind & ~frames.LEAVING == frames.ESCAPED:
                return Escaped(get_pickled_exception(pickle.loads(value)))
            return pickle.loads(value)
        except Exception as exc:
            lost = LostOutcome(
                f"job {seq} ended with something that can't be unpickled here: {exc!r}"
            )
            return self._outcome(FAILED, exception_info(lost), runtime)
