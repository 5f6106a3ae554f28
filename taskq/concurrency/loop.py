"""A pool's view of the event loop: readers, alarms and a wake-up that threads may call.

Mirrors what it is given into kombu's hub, and can turn by itself when no hub runs.
"""

from __future__ import annotations

import heapq
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any


class Alarm:
    """A callback that is due at a monotonic time; cancelling it is free."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Never call it."""
        self.callback = None


class PoolLoop:
    """Readers and alarms of one pool, alone or inside a hub.

    Life: created with the pool; ``open()`` when that starts; ``attach(hub)`` when the worker
    registers the pool; ``turn()`` by whoever waits without the hub; ``close()``.
    """

    def __init__(self) -> None:
        self.hub: Any = None
        self._readers: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._alarms: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self._hub_timer: Any = None
        self._hub_due = float("inf")
        self._on_tick: Callable[[], None] | None = None
        self._owner = threading.get_ident()
        self._wake_pending = False
        self._wake_handler: Callable[[], None] | None = None
        self._wake_reader = self._wake_writer = -1

    def open(self) -> None:
        """Make wake-ups possible; once is enough."""
        if self._wake_reader < 0:
            self._wake_reader, self._wake_writer = _wake_pair()
            self.add_reader(self._wake_reader, self._woken)

    def attach(self, hub: Any, on_tick: Callable[[], None]) -> None:
        """Follow ``hub``: it calls the readers, the alarms, and ``on_tick`` before each poll.

        May be called again with the same hub after it was reset.
        """
        self.open()
        if self._on_tick is not None and self.hub is not None:
            self.hub.on_tick.discard(self._on_tick)
        self.hub = hub
        self._on_tick = on_tick
        self._owner = threading.get_ident()
        hub.on_tick.add(on_tick)
        for fd, (callback, args) in self._readers.items():
            hub.add_reader(fd, callback, *args)
        self._hub_timer, self._hub_due = None, float("inf")
        self._arm_hub()

    def add_reader(self, fd: int, callback: Callable[..., None], *args: Any) -> None:
        """Call ``callback(*args)`` whenever ``fd`` can be read."""
        self._readers[fd] = (callback, args)
        if self.hub is not None:
            self.hub.add_reader(fd, callback, *args)

    def remove_reader(self, fd: int) -> None:
        """Stop watching ``fd``; must come before it is closed."""
        reader = self._readers.pop(fd, None)
        # A hub that was closed or reset has forgotten it already.
        if reader is not None and self.hub is not None and fd in self.hub.readers:
            self.hub.remove_reader(fd)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        """Call ``callback`` in ``delay`` seconds."""
        alarm = Alarm(time.monotonic() + delay, callback)
        heapq.heappush(self._alarms, (alarm.due, next(self._order), alarm))
        self._arm_hub()
        return alarm

    def on_wake(self, handler: Callable[[], None]) -> None:
        """Call ``handler`` in the loop's thread after each ``wake()``."""
        self._wake_handler = handler

    def wake(self) -> None:
        """Make the loop turn soon; any thread may call it."""
        if not self._wake_pending and self._wake_writer >= 0:
            self._wake_pending = True
            os.write(self._wake_writer, _WAKE)

    def in_owner_thread(self) -> bool:
        """Return whether the caller is the thread in which callbacks run."""
        return threading.get_ident() == self._owner

    def turn(self, timeout: float | None = None) -> None:
        """Without the hub, wait at most ``timeout`` seconds for something to do, and do it."""
        due = self._next_due()
        if due is not None:
            until_due = max(0.0, due - time.monotonic())
            timeout = until_due if timeout is None else min(timeout, until_due)
        for fd in _readable(self._readers, timeout):
            reader = self._readers.get(fd)
            if reader is not None:
                reader[0](*reader[1])
        self._fire()

    def foreign_fds(self) -> Iterator[int]:
        """Yield the descriptors that the hub watches and a forked child must not keep open."""
        if self.hub is not None:
            for fd in {*self.hub.readers, *self.hub.writers}:
                if fd not in self._readers:
                    yield fd

    def close_in_child(self) -> None:
        """Let go of everything inherited from the main process, without touching its epoll set.

        The hub's descriptors (broker sockets) are replaced by the null device instead of closed:
        objects that still own the numbers may then close them, or try to shut a socket down that
        the main process uses, and do no harm.
        """
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in self.foreign_fds():
            try:
                os.dup2(null, fd, inheritable=False)
            except OSError:
                # Closed meanwhile: the goal is reached.
                continue
        os.close(null)
        if self.hub is not None:
            self.hub.poller.close()
        self._close_wake_pair()

    def close(self) -> None:
        """Leave the hub and close the wake-up descriptors."""
        if self.hub is not None and self._on_tick is not None:
            self.hub.on_tick.discard(self._on_tick)
        if self._hub_timer is not None:
            self._hub_timer.cancel()
            self._hub_timer = None
        for fd in list(self._readers):
            self.remove_reader(fd)
        self._alarms.clear()
        self._close_wake_pair()
        self.hub = None

    def _close_wake_pair(self) -> None:
        for fd in {self._wake_reader, self._wake_writer} - {-1}:
            os.close(fd)
        self._wake_reader = self._wake_writer = -1

    def _woken(self) -> None:
        try:
            os.read(self._wake_reader, 4096)
        except BlockingIOError:
            # A stale readiness event: the number was read by turn() meanwhile.
            return
        # Cleared before the handler looks: a wake-up that comes now is not lost.
        self._wake_pending = False
        if self._wake_handler is not None:
            self._wake_handler()

    def _next_due(self) -> float | None:
        alarms = self._alarms
        while alarms and alarms[0][2].callback is None:
            heapq.heappop(alarms)
        return alarms[0][0] if alarms else None

    def _fire(self) -> None:
        now = time.monotonic()
        while (due := self._next_due()) is not None and due <= now:
            alarm = heapq.heappop(self._alarms)[2]
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()

    def _fire_from_hub(self) -> None:
        self._hub_timer, self._hub_due = None, float("inf")
        self._fire()
        self._arm_hub()

    def _arm_hub(self) -> None:
        """Keep one hub timer, for the earliest alarm."""
        if self.hub is None:
            return
        due = self._next_due()
        if due is None or due >= self._hub_due:
            return
        if self._hub_timer is not None:
            self._hub_timer.cancel()
        self._hub_due = due
        delay = max(0.0, due - time.monotonic())
        self._hub_timer = self.hub.call_later(delay, self._fire_from_hub)
        # The hub may have fixed the length of its next poll already.
        self.wake()


def _readable(fds: Iterable[int], timeout: float | None) -> list[int]:
    """Return those of ``fds`` that can be read, waiting at most ``timeout`` seconds for one."""
    if not hasattr(select, "poll"):
        # Eventlet takes it away.
        return select.select(list(fds), [], [], timeout)[0]
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    milliseconds = None if timeout is None else max(0, int(timeout * 1000 + 0.999))
    return [fd for fd, _ in poller.poll(milliseconds)]


#: What one wake-up writes: eventfd wants 8 bytes in native order, a pipe takes anything.
_WAKE = (1).to_bytes(8, sys.byteorder)


def _wake_pair() -> tuple[int, int]:
    """Return descriptors to read and write wake-ups with; the same number where eventfd exists."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


class Pumped:
    """The part of a pool that turns its own loop, where the worker's does not run."""

    _loop: PoolLoop
    flush_dispatch: Callable[[], None]

    def pump(self, timeout: float | None = None) -> None:
        """Turn the pool's own loop once: for waiting while the worker's loop does not run."""
        self.flush_dispatch()
        self._loop.turn(timeout)
        self.flush_dispatch()
