"""One job, or one call, on its way through a pool of threads or greenlets.

The pool in the loop's thread and the worker that runs it share the ticket without locks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from taskq.concurrency.jobs import Job


class Ticket:
    """One job, or one call, on its way through the pool."""

    __slots__ = (
        "announced",
        "call",
        "job",
        "limit_hit",
        "outcome",
        "raised",
        "signum",
        "started",
        "taken",
        "thread",
        "worker",
    )

    def __init__(self, job: Job | None, call: Callable[[], None] | None = None) -> None:
        self.job = job
        self.call = call
        #: Whoever pops its only element has the ticket: a thread to run it, or its canceller.
        self.taken = [True]
        #: Unix time at which a thread began with it; 0 before.
        self.started = 0.0
        #: Whether the job was told that it has begun.
        self.announced = False
        #: The id of that thread.
        self.thread = 0
        #: The signal by which it was told to end; 0 for none.
        self.signum = 0
        self.outcome: Any = None
        #: What runs it; a number that callers may take for a pid.
        self.worker = os.getpid()
        #: Whether a hard time limit ended it: the job was told so, and hears nothing else.
        self.limit_hit = False
        #: What the executor raised instead of returning an outcome.
        self.raised: BaseException | None = None


def claim(ticket: Ticket) -> bool:
    """Take the right to run or to cancel ``ticket``; only one caller in any thread gets it."""
    try:
        return ticket.taken.pop()
    except IndexError:
        return False
