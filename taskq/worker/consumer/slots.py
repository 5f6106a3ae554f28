"""Taking a message only when something of the pool is free, from brokers that push messages.

For ``worker_disable_prefetch`` where the transport cannot do it by itself. The broker may always
have one message on its way, if there is room for it. Its limit is lowered, or consuming paused,
*before* a task goes to the pool: an acknowledgement that is sent afterwards, as that of a task
which is acknowledged early, must not make room for a message that nobody could run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.worker.state import reserved_requests, scheduled_requests


class SlotLimit:
    """The prefetch count of such a worker: what `kombu.common.QoS` is to others.

    Parameters:
        consumer: the worker's consumer.
        apply_global: whether the broker counts all messages of the channel together.
        per_consumer: whether it counts those of each consumer apart, and from its beginning.
        most: messages to hold at most, those that wait for their ETA too; None for no limit.
    """

    def __init__(
        self, consumer: Any, *, apply_global: bool, per_consumer: bool, most: int | None
    ) -> None:
        self._consumer = consumer
        self._apply_global = apply_global
        self._per_consumer = per_consumer
        self._most = most
        self._paused = False
        #: The value that the broker knows.
        self.prev = 1

    @property
    def value(self) -> int:
        """How many messages may be unacknowledged now; 0 to take none."""
        limited = self._consumer.limited_requests()
        unacknowledged = len(scheduled_requests) + sum(
            (request.task.acks_late or request in limited) and not request.acknowledged
            for request in reserved_requests
        )
        free = self._consumer.pool.num_processes > len(reserved_requests) - len(limited)
        if self._most is not None and unacknowledged >= self._most:
            free = False
        if self._per_consumer:
            return int(free)
        return int(unacknowledged + free)

    def update(self) -> int:
        """Tell the broker the value of now."""
        return self._tell(renew=False)

    def before(self, submit: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return ``submit`` so that the broker is told before each request goes to the pool."""

        def submit_when_told(request: Any) -> None:
            # A consumer that is counted apart begins anew, so that what it holds counts no more.
            self._tell(renew=self._per_consumer)
            submit(request)

        return submit_when_told

    def increment_eventually(self, n: int = 1) -> int:
        """Return the value, which follows what is held by itself."""
        return self.value

    decrement_eventually = increment_eventually

    def _tell(self, *, renew: bool) -> int:
        task_consumer, value = self._consumer.task_consumer, self.value
        if not self._paused and (renew or not value):
            task_consumer.cancel()
            self._paused = True
        if value:
            if value != self.prev and not self._per_consumer:
                task_consumer.qos(prefetch_count=value, apply_global=self._apply_global)
            if self._paused:
                self._paused = False
                task_consumer.consume()
        self.prev = value
        return value
