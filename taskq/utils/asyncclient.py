"""What the awaitable client stands on: the running loop, and one thread beside it for what blocks.

Publishing and asking the store are written for threads. Each event loop has one thread that does
these for all its coroutines, in the order they asked; many answers come back with one wake-up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

from taskq._state import _join_override, get_current_worker_task

__all__ = (
    "call_in_thread",
    "closed_with_loop",
    "finish_in_thread",
    "left_when_ended",
    "loop_runs",
    "running_loop",
    "shares_loop",
)

#: Seconds after which a thread with nothing to do ends; the next call starts a new one.
IDLE_LIMIT = 1.0

#: Seconds after which a call is left that does not end.
LEAVING_GRACE = 5.0

Call = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]]


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises RuntimeError when none runs, or one of another library.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    if "trio" in sys.modules:
        hint = (
            "under trio use anyio with its asyncio backend, or run the blocking call in a thread:"
            " trio.to_thread.run_sync(task.delay, ...)"
        )
    else:
        hint = "call it from a coroutine that asyncio runs, or use delay() and get()"
    raise RuntimeError(f"The awaitable client needs a running asyncio event loop: {hint}.")


def loop_runs() -> bool:
    """Return whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def closed_with_loop(close: Callable[[], None]) -> AsyncGenerator[None, None]:
    """Have something closed when the running loop ends in order, as ``asyncio.run`` has it end.

    It is called in the loop's thread. Keep what is returned: the loop does not.
    """

    async def until_the_end() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            close()

    waiting = until_the_end()
    with suppress(StopIteration):
        # Begun, it is among those that the loop closes at its end.
        waiting.__anext__().__await__().__next__()
    return waiting


async def call_in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that blocks in the thread of the running loop; return what it returns.

    It sees the caller's context variables, such as the task that is running.

    Raises what it raises; RuntimeError outside asyncio.
    """
    loop = running_loop()
    thread = _threads.get(loop)
    if thread is None:
        thread = _threads[loop] = _ClientThread(loop)
    future = loop.create_future()
    context = copy_context()
    if shares_loop():
        # Waiting for what is sent here holds nobody up, so it is to be sent with a way to answer.
        context.run(_join_override.set, False)
    thread.put((future, context.run, (function, *args), kwargs))
    return await future


async def finish_in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do the same, but leave it only once the call has ended, also when cancelled meanwhile.

    So what it does is done before whatever comes after the cancellation.
    """
    return await left_when_ended(asyncio.ensure_future(call_in_thread(function, *args, **kwargs)))


async def left_when_ended(future: asyncio.Future[Any]) -> Any:
    """Await a call in a thread; when cancelled, wait for its end, though not for ever."""
    try:
        return await asyncio.shield(future)
    except BaseException:
        if not future.done():
            await asyncio.wait({future}, timeout=LEAVING_GRACE)
            future.cancel()
        raise


def shares_loop() -> bool:
    """Return whether a task runs here on a loop that it shares with others (``-P asyncio``)."""
    running = get_current_worker_task()
    return running is not None and bool(running.request._shares_loop)


class _ClientThread:
    """The thread of one loop; runs while there is something to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        calls = self._calls
        # A loop that is done with takes its thread along: some servers make one for each request.
        self._loop = weakref.ref(loop, lambda _: calls.put(None))
        self._lock = threading.Lock()
        self._runs = False
        #: Answers to be set: future, value, exception.
        self._answers: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._posted = False

    def put(self, call: Call) -> None:
        """Have a call made soon."""
        with self._lock:
            self._calls.put(call)
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._run, name="taskq-client", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=IDLE_LIMIT)
            except Empty:
                with self._lock:
                    if self._calls.empty():
                        self._runs = False
                        return
                continue
            if call is None:
                return
            self._make(call)
            # The call holds the future, and the future the loop.
            del call

    def _make(self, call: Call) -> None:
        future, function, args, kwargs = call
        if future.cancelled():
            return
        try:
            value, error = function(*args, **kwargs), None
        except BaseException as exc:
            value, error = None, exc
        self._answers.append((future, value, error))
        loop = self._loop()
        if loop is not None and not self._posted:
            self._posted = True
            try:
                loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                # The loop was closed: nobody waits.
                self._posted = False
                self._answers.clear()

    def _answer(self) -> None:
        """Set the answers, in the loop's thread."""
        self._posted = False
        while self._answers:
            future, value, error = self._answers.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            elif isinstance(error, Exception) and not isinstance(error, StopIteration):
                future.set_exception(error)
            else:
                future.set_exception(RuntimeError(f"{error!r} was raised in a thread"))


_threads: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _ClientThread] = (
    weakref.WeakKeyDictionary()
)


def _forget_threads() -> None:
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
