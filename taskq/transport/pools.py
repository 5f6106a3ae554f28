"""Pools of connections and of producers.

A producer that is released keeps its connection and channel, ready for the next ``delay()``;
it gives the connection up when somebody else needs one and the pool has no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from kombu.connection import ConnectionPool as _KombuConnectionPool
from kombu.pools import ProducerPool as _KombuProducerPool

__all__ = ("ConnectionPool", "ProducerPool")


class ConnectionPool(_KombuConnectionPool):
    """A pool of connections.

    - make: returns a new connection for a pool.
    """

    #: Makes an idle holder return a connection; returns whether one did.
    reclaim: Callable[[], bool] | None = None

    def __init__(
        self, connection: Any, limit: int | None, make: Callable[[ConnectionPool], Any]
    ) -> None:
        self._make = make
        super().__init__(connection, limit=limit)

    def new(self) -> Any:
        """Return one more connection, not established yet."""
        return self._make(self)

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return a connection for the caller alone, until its ``release()``.

        - block, timeout: wait for one, so many seconds.

        Raises ConnectionLimitExceeded when all are in use and ``block`` is false.
        """
        if self.limit and self.reclaim is not None and len(self._dirty) >= self.limit:
            self.reclaim()
        return super().acquire(block=block, timeout=timeout)


class ProducerPool(_KombuProducerPool):
    """A pool of producers over a `ConnectionPool`."""

    def __init__(self, connections: ConnectionPool, limit: int | None, Producer: Any) -> None:  # noqa: N803
        #: Idle producers with their connections, the last used on top.
        self._ready: deque[Any] = deque()
        self._waiting = 0
        super().__init__(connections, limit=limit, Producer=Producer)
        connections.reclaim = self._give_up_one

    def acquire(self, block: bool = False, timeout: float | None = None) -> Any:
        """Return a producer for the caller alone, until its ``release()``."""
        try:
            return self._ready.pop()
        except IndexError:
            pass
        self._waiting += 1
        try:
            # One may have come between the look above and being counted as waiting.
            try:
                return self._ready.pop()
            except IndexError:
                return super().acquire(block=block, timeout=timeout)
        finally:
            self._waiting -= 1

    def release(self, resource: Any) -> None:
        """Take a producer back."""
        connection = resource.__connection__
        # An error inside ``with producer`` has closed the connection: its channel is of no use.
        broken = connection is not None and connection._closed
        if not self.limit or self._closed or broken or resource._channel is None:
            super().release(resource)
            return
        self._ready.append(resource)
        if self._waiting:
            self._give_up_one()

    def _give_up_one(self) -> bool:
        """Put an idle producer back with its connection, for those who wait; False if none is."""
        try:
            idle = self._ready.popleft()
        except IndexError:
            return False
        super().release(idle)
        return True
