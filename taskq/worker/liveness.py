"""Whether a worker lives and is ready, as its probes tell the outside.

Live means that the loop turns, or has a reason not to; ready means that tasks are taken. A base
for steps; asks no broker, so that a worker whose broker is away lives.
"""

from __future__ import annotations

import time
from typing import Any

from taskq import bootsteps
from taskq.bootsteps import RUN
from taskq.concurrency.solo import TaskPool as SoloPool
from taskq.worker.components import Hub, Pool
from taskq.worker.state import active_requests

#: Seconds between two turns of the loop at most.
INTERVAL = 1.0


class LivenessStep(bootsteps.StartStopStep):
    """A step that knows whether the loop turns.

    - stuck_after: seconds without a turn after which the loop counts as stuck.
    """

    conditional = True
    requires = (Hub, Pool)
    stuck_after: float = 30.0

    def __init__(self, w: Any, **kwargs: Any) -> None:
        self.worker = w
        self._turned = time.monotonic()
        self._turns: Any = None
        super().__init__(w, **kwargs)

    def create(self, w: Any) -> Any:
        """Return the step; it begins with the worker."""
        return self

    def register_with_event_loop(self, w: Any, hub: Any) -> None:
        """Note the turns of the loop."""
        if self._turns is not None:  # the loop starts again with each connection
            self._turns.cancel()
        every = min(INTERVAL, self.stuck_after / 4)
        self._note_turn()
        self._turns = hub.timer.call_repeatedly(every, self._note_turn)

    def live(self) -> bool:
        """Return whether the loop turns, or has a reason not to.

        Such as having no connection to wait on, or running a task itself (the solo pool).
        """
        if time.monotonic() - self._turned < self.stuck_after or not self.connected():
            return True
        return isinstance(self.worker.pool, SoloPool) and bool(active_requests)

    def ready(self) -> bool:
        """Return whether tasks are taken from the broker."""
        consumer = self.worker.consumer
        running = consumer is not None and consumer.blueprint.state == RUN
        return running and self.connected() and self.live()

    def connected(self) -> bool:
        """Return whether there is a connection that is consumed from."""
        consumer = self.worker.consumer
        return consumer is not None and bool(consumer.consuming)

    def _note_turn(self) -> None:
        self._turned = time.monotonic()
