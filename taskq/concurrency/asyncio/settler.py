"""Stores the results of tasks whose outcome needs nothing else, many in one go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from taskq.backends.ahead import Ahead
from taskq.concurrency.asyncio.ticket import Ticket

logger = logging.getLogger(__name__)

#: Seconds to wait for it to end: the store may be away.
END_GRACE = 5.0
#: Executions settled before their outcomes are reported, at most.
BATCH = 256


class Settler:
    """A thread that settles plain executions in the order in which they ended.

    Invariant: the outcome of a task is reported when the store has confirmed its result.

    - ahead: where stores say that they have answers outstanding.
    - report: called with the tickets of each batch, which carry what the tracer returned.
    """

    def __init__(self, ahead: Ahead, report: Callable[[list[Ticket]], None]) -> None:
        self._ahead = ahead
        self._report = report
        self._queue: SimpleQueue[tuple[Ticket, Any] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="asyncio-results", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, ticket: Ticket, execution: Any) -> None:
        """Settle an execution soon."""
        self._queue.put((ticket, execution))

    def end(self) -> None:
        """Settle what is queued, then end."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(END_GRACE)

    def _run(self) -> None:
        get, get_nowait = self._queue.get, self._queue.get_nowait
        while (item := get()) is not None:
            batch: list[Ticket] = []
            while item is not None:
                ticket, execution = item
                ticket.settle(execution.settle_plainly)
                batch.append(ticket)
                if len(batch) >= BATCH:
                    break
                try:
                    item = get_nowait()
                except Empty:
                    break
            self._ahead.settle()
            self._report(batch)
            if item is None:
                return
