"""Which queues a channel consumes, for whom, and in which order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq.transport.sqlite.message import Message

__all__ = ("Consumer", "Subscriptions")


@dataclass(frozen=True, slots=True)
class Consumer:
    """One subscription of a channel to a queue."""

    tag: str
    queue: str
    no_ack: bool
    callback: Callable[[Message], Any]


class Subscriptions:
    """The consumers of one channel.

    Parameters:

    - `order`: the option ``queue_order_strategy``.
    """

    def __init__(self, order: str) -> None:
        self._order = order
        self._consumers: dict[str, Consumer] = {}
        self._by_queue: dict[str, Consumer] = {}
        #: Queues whose messages are to be acknowledged, the next to be served first.
        self.queues: deque[str] = deque()
        #: Queues whose messages are done when they are delivered.
        self.no_ack_queues: deque[str] = deque()

    def __bool__(self) -> bool:
        return bool(self._consumers)

    def all_queues(self) -> list[str]:
        """Return every queue that is consumed."""
        return [*self.queues, *self.no_ack_queues]

    def consumers(self) -> list[Consumer]:
        """Return all consumers."""
        return list(self._consumers.values())

    def consumer_of(self, queue: str) -> Consumer | None:
        """Return who gets the messages of a queue."""
        return self._by_queue.get(queue)

    def add(self, consumer: Consumer) -> None:
        """Add a consumer, or replace the one with its tag."""
        self._consumers[consumer.tag] = consumer
        self._arrange()

    def pop(self, tag: str) -> Consumer | None:
        """Remove the consumer with this tag and return it."""
        consumer = self._consumers.pop(tag, None)
        self._arrange()
        return consumer

    def clear(self) -> None:
        """Remove all consumers."""
        self._consumers.clear()
        self._arrange()

    def take_turns(self) -> None:
        """Let another queue be the first to be served the next time."""
        if self._order == "round_robin":
            self.queues.rotate(-1)
            self.no_ack_queues.rotate(-1)

    def _arrange(self) -> None:
        self._by_queue = {consumer.queue: consumer for consumer in self._consumers.values()}
        consumers = list(self._by_queue.values())
        if self._order == "sorted":
            consumers.sort(key=lambda consumer: consumer.queue)
        self.queues = deque(consumer.queue for consumer in consumers if not consumer.no_ack)
        self.no_ack_queues = deque(consumer.queue for consumer in consumers if consumer.no_ack)
