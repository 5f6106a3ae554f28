"""A bounded number of threads for what must not run on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any

from taskq.utils.asyncclient import left_when_ended
from taskq.utils.coroutines import lend_loop


class Threads:
    """Daemon threads, started as they are needed: a blocked one does not hold up the exit.

    Coroutines that are run in them (handlers, receivers) run on the pool's loop.

    - name: what the threads are called; limit: how many at most; loop: the pool's.
    """

    def __init__(self, name: str, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self.limit = limit
        self._name = name
        self._loop = loop
        self._calls: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        #: Calls that are queued or running.
        self._open = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function in a thread. It must not raise."""
        with self._lock:
            self._open += 1
            is_needed = self._threads < min(self.limit, self._open)
            self._threads += is_needed
            name = f"{self._name}-{self._threads}"
        self._calls.put((function, args))
        if is_needed:
            threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread, with the caller's context variables; return its value.

        When cancelled, ends with the call: what a task stores is not to come after its end.
        """
        future = self._loop.create_future()
        self.submit(self._call, future, copy_context().run, function, *args)
        return await left_when_ended(future)

    def end(self) -> None:
        """Let the threads end when they have nothing left to do."""
        with self._lock:
            for _ in range(self._threads):
                self._calls.put(None)

    def _work(self) -> None:
        lend_loop(self._loop)
        while (call := self._calls.get()) is not None:
            function, args = call
            try:
                function(*args)
            finally:
                with self._lock:
                    self._open -= 1

    def _call(self, future: asyncio.Future[Any], function: Callable[..., Any], *args: Any) -> None:
        try:
            value = function(*args)
        except BaseException as exc:
            self._loop.call_soon_threadsafe(_fail, future, exc)
        else:
            self._loop.call_soon_threadsafe(_resolve, future, value)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], exc: BaseException) -> None:
    if future.done():
        return
    # A StopIteration can't be set on a future, and a SystemExit would end the loop.
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        future.set_exception(exc)
    else:
        future.set_exception(RuntimeError(f"{exc!r} was raised in a thread"))
