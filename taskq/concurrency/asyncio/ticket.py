"""One job on its way through the asyncio pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

from taskq.app.trace.outcome import Outcome, outcome_of
from taskq.concurrency.jobs import Job, escaped

_numbers = count(1)


class Ticket:
    """One job, what runs it, and how it ended.

    Made in the worker's thread, then the loop's and then a settling thread's, never two at a time.
    """

    __slots__ = ("coroutine", "ended", "job", "number", "outcome", "raised", "signum", "started")

    def __init__(self, job: Job, started: float) -> None:
        self.job = job
        #: Unix time at which it was handed to the loop.
        self.started = started
        #: Distinguishes it from the others.
        self.number = next(_numbers)
        #: The asyncio task that awaits it.
        self.coroutine: asyncio.Task[None] | None = None
        #: The signal by which it was told to end; 0 for none.
        self.signum = 0
        #: Whether its end has been reported.
        self.ended = False
        self.outcome: Outcome | None = None
        #: What was raised instead of an outcome.
        self.raised: BaseException | None = None

    def is_killed(self) -> bool:
        """Return whether it was told to end."""
        return self.signum != 0

    def settle(self, trace: Callable[[], Any]) -> None:
        """Take what a tracer returns, or raises, for the way it ended."""
        try:
            self.outcome = outcome_of(trace())
        except BaseException as exc:
            self.raised = escaped(exc)
