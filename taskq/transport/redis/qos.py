"""How many messages a channel may hold, and what it holds; kombu's QoS interface to the claimer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class QoS:
    """Prefetch count and settlement of one channel's messages.

    - prefetch_count: messages that may be held unsettled; 0 for any number.
    """

    restore_at_shutdown = True

    def __init__(self, channel: Any, prefetch_count: int = 0) -> None:
        self.channel = channel
        self.prefetch_count = prefetch_count or 0
        #: Messages of fanout queues that are to be acknowledged; no server knows of them.
        self.local: dict[str, Any] = {}
        #: Returns how many messages are worked on that do not count as held: acknowledged ones.
        self.occupied: Callable[[], int] | None = None

    @property
    def count(self) -> int:
        """Number of messages held."""
        lease = self.channel.claimer.lease
        return len(self.local) + (lease.count if lease is not None else 0)

    @property
    def room(self) -> int | None:
        """Number of messages that may come on top of those held; None for any number."""
        if not self.prefetch_count:
            return None
        occupied = self.occupied() if self.occupied is not None else 0
        return max(0, self.prefetch_count - self.count - occupied)

    def can_consume(self) -> bool:
        """Tell whether another message may come."""
        return self.room != 0

    def can_consume_max_estimate(self) -> int | None:
        """Return how many messages may come; None for any number."""
        return self.room

    def append(self, message: Any, delivery_tag: str) -> None:
        """Hold a message that no claim has brought: one of a fanout queue."""
        self.local[delivery_tag] = message

    def get(self, delivery_tag: str) -> Any:
        """Return a held message. Raises KeyError."""
        try:
            return self.local[delivery_tag]
        except KeyError:
            lease = self.channel.claimer.lease
            if lease is None:
                raise
            return lease.held[delivery_tag]

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        self.channel.basic_ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back."""
        self.channel.basic_reject(delivery_tag, requeue=requeue)

    def restore_unacked(self) -> None:
        """Put all held messages back to their queues, flagged as redelivered."""
        self.local.clear()
        lease = self.channel.claimer.lease
        if lease is not None:
            self.channel.claimer.release([*lease.orphans, *lease.held])

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Do nothing: closing the claimer gives back what is held."""

    def restore_visible(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the lease's thread looks after expired messages."""
