"""A thread that calls functions at given times, for pools without an event loop.

Used by the worker with the thread, eventlet and gevent pools.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from threading import TIMEOUT_MAX as THREAD_TIMEOUT_MAX
from typing import TYPE_CHECKING, Any

from kombu.asynchronous.timer import Entry, to_timestamp
from kombu.asynchronous.timer import Timer as Schedule
from kombu.asynchronous.timer import logger as logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Entry", "Schedule", "Timer", "to_timestamp")

TIMER_DEBUG = os.environ.get("TIMER_DEBUG")


class Timer(threading.Thread):
    """Thread that calls functions at given times.

    Parameters:
        schedule: holds what is to be called (default: a new :class:`Schedule`).
        on_error: called with each exception that a function raises.
        on_tick: called with the seconds until the next function is due.
        on_start: called with the timer when the thread starts.
        max_interval: longest time to sleep, in seconds.

    The thread starts with the first entry.
    """

    Entry = Entry
    Schedule = Schedule

    running: bool = False
    on_tick: Callable[[float], None] | None = None

    _timer_count = count(1)

    def __init__(
        self,
        schedule: Any = None,
        on_error: Callable[[Exception], None] | None = None,
        on_tick: Callable[[float], None] | None = None,
        on_start: Callable[[Timer], None] | None = None,
        max_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.schedule = schedule or self.Schedule(on_error=on_error, max_interval=max_interval)
        self.on_start = on_start
        self.on_tick = on_tick or self.on_tick
        super().__init__()
        # Not `_is_stopped`, which is the thread's own.
        self.__is_shutdown = threading.Event()
        self.__is_stopped = threading.Event()
        self.mutex = threading.Lock()
        self.not_empty = threading.Condition(self.mutex)
        self.daemon = True
        self.name = f"Timer-{next(self._timer_count)}"

    def _next_entry(self) -> float | None:
        """Call what is due; return the seconds until the next call, or None if there is none."""
        with self.not_empty:
            delay, entry = next(self.scheduler)
            if entry is None:
                if delay is None:
                    # Nothing is scheduled: sleep until something is.
                    self.not_empty.wait(1.0)
                return delay  # type: ignore[no-any-return]
        return self.schedule.apply_entry(entry)  # type: ignore[no-any-return]

    __next__ = next = _next_entry

    def run(self) -> None:
        """Call what is due, until the timer is stopped."""
        try:
            self.running = True
            self.scheduler = iter(self.schedule)
            while not self.__is_shutdown.is_set():
                delay = self._next_entry()
                if delay:
                    if self.on_tick:
                        self.on_tick(delay)
                    self._sleep(delay)
            self.running = False
            self.__is_stopped.set()
        except Exception:
            logger.exception("Thread Timer crashed")
            self.running = False
            self.__is_stopped.set()
            sys.stderr.flush()
            # A worker without its timer would hold tasks for ever.
            os._exit(1)

    def _sleep(self, delay: float) -> None:
        with self.not_empty:
            if not self.__is_shutdown.is_set():
                # Woken up early by an entry that may be due before.
                self.not_empty.wait(min(delay, THREAD_TIMEOUT_MAX))

    def stop(self) -> None:
        """Stop the thread, and wait until it has stopped."""
        self.__is_shutdown.set()
        if self.running:
            with self.not_empty:
                self.not_empty.notify()
            self.__is_stopped.wait()
            if threading.current_thread() is not self:
                self.join(THREAD_TIMEOUT_MAX)
            self.running = False

    def ensure_started(self) -> None:
        """Start the thread if it does not run."""
        if not self.running and not self.is_alive():
            if self.on_start:
                self.on_start(self)
            self.start()

    def _do_enter(self, meth: str, *args: Any, **kwargs: Any) -> Any:
        self.ensure_started()
        with self.mutex:
            entry = getattr(self.schedule, meth)(*args, **kwargs)
            self.not_empty.notify()
            return entry

    def enter(self, entry: Any, eta: Any, priority: int | None = None) -> Any:
        """Schedule an entry for time ``eta``."""
        return self._do_enter("enter_at", entry, eta, priority=priority or 0)

    def call_at(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function at a time: ``call_at(eta, fun, args=(), kwargs={}, priority=0)``."""
        return self._do_enter("call_at", *args, **kwargs)

    def enter_after(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule an entry for later: ``enter_after(secs, entry, priority=0)``."""
        return self._do_enter("enter_after", *args, **kwargs)

    def call_after(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function later: ``call_after(secs, fun, args=(), kwargs={}, priority=0)``."""
        return self._do_enter("call_after", *args, **kwargs)

    def call_repeatedly(self, *args: Any, **kwargs: Any) -> Any:
        """Call a function again and again: ``call_repeatedly(secs, fun, args=(), kwargs={})``."""
        return self._do_enter("call_repeatedly", *args, **kwargs)

    def exit_after(self, secs: float, priority: int = 10) -> None:
        """Raise SystemExit in the thread after ``secs`` seconds."""
        self.call_after(secs, sys.exit, priority=priority)

    def cancel(self, tref: Any) -> None:
        """Cancel an entry."""
        tref.cancel()

    def clear(self) -> None:
        """Cancel all entries."""
        self.schedule.clear()

    def empty(self) -> bool:
        """Return True if nothing is scheduled."""
        return not len(self)

    def __len__(self) -> int:
        return len(self.schedule)

    def __bool__(self) -> bool:
        return True  # Even if it is empty.

    __nonzero__ = __bool__

    @property
    def queue(self) -> Any:
        """The entries, the next one first."""
        return self.schedule.queue
