"""The connections of the result backend: taken for one call, put back after it.

Any number of threads call at the same time; each call has a connection of its own meanwhile.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskq.transport.redis.wire import Wire


class Wires:
    """Connections that are not in use, and making more of them.

    - connect: returns a new, unconnected redis-py connection.
    - url: the server's URL for messages, password masked.
    - limit: most connections; a call waits for one to come back. None for any number.
    """

    def __init__(self, connect: Callable[[], Any], url: str, limit: int | None = None) -> None:
        self._connect = connect
        self._url = url
        self._limit = limit
        self.after_fork()

    def after_fork(self) -> None:
        """Start anew: the connections are those of the parent process, who closes them."""
        self._idle: deque[Wire] = deque()
        self._room = threading.BoundedSemaphore(self._limit) if self._limit else None

    @contextmanager
    def borrow(self) -> Iterator[Wire]:
        """Give a connected wire for one call. Raises one of redis-py's errors."""
        if self._room is None:
            with self._borrowed() as wire:
                yield wire
            return
        with self._room, self._borrowed() as wire:
            yield wire

    @contextmanager
    def _borrowed(self) -> Iterator[Wire]:
        idle = self._idle
        try:
            wire = idle.pop()
        except IndexError:
            wire = self.make()
        try:
            wire.reopen_if_closed()
            yield wire
        finally:
            if wire.connected:
                idle.append(wire)

    def make(self) -> Wire:
        """Return a wire that is not shared."""
        return Wire(self._connect, self._url)

    def close(self) -> None:
        """Close the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()
