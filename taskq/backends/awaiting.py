"""Waiting for results on an event loop: any number of coroutines through one `Watch`.

A loop has one `AwaitedResults` for each backend it waits on. Its thread takes part in the backend's
`Waiter` like any other that waits, so the store sees one subscriber.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from typing import Any

from taskq import states
from taskq.backends.waiting import Meta, Waiter, Watch
from taskq.exceptions import TimeoutError

__all__ = ("AwaitedResults", "awaited_results")

#: Seconds of one turn of the thread.
TURN = 1.0
#: Seconds that the thread stays with nobody waiting: the next one often comes at once.
LINGER = 5.0


class AwaitedResults:
    """What the coroutines of one loop wait for on one backend.

    - loop: theirs; waiter: the backend's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, waiter: Waiter) -> None:
        self._wanted = wanted = threading.Event()
        # A loop that is done with takes its thread along: some servers make one for each request.
        self._loop = weakref.ref(loop, lambda _: wanted.set())
        self._waiter = waiter
        self._watch = Watch(())
        self._futures: dict[str, list[asyncio.Future[Meta]]] = {}
        self._lock = threading.Lock()
        self._runs = False

    async def meta(self, task_id: str, timeout: float | None = None) -> Meta:
        """Return the meta of a task when it is ready.

        - timeout: seconds; None waits for ever.

        Raises taskq.exceptions.TimeoutError.
        """
        future: asyncio.Future[Meta] = asyncio.get_running_loop().create_future()
        waiting = self._futures.get(task_id)
        if waiting is None:
            self._futures[task_id] = [future]
            self._waiter.extend(self._watch, [task_id])
            self._keep_running()
        else:
            waiting.append(future)
        try:
            if timeout is None:
                return await future
            async with asyncio.timeout(timeout):
                return await future
        except builtins_timeout as exc:
            raise TimeoutError("The operation timed out.") from exc
        finally:
            self._leave(task_id, future)

    def _leave(self, task_id: str, future: asyncio.Future[Meta]) -> None:
        """Stop waiting; the last one to leave ends the subscription."""
        waiting = self._futures.get(task_id)
        if waiting is None or future not in waiting:
            return
        waiting.remove(future)
        if not waiting:
            del self._futures[task_id]
            self._waiter.reduce(self._watch, [task_id])

    def _keep_running(self) -> None:
        with self._lock:
            self._wanted.set()
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._run, name="taskq-results", daemon=True).start()

    # -- in the thread

    def _run(self) -> None:
        while True:
            if not self._wanted.wait(LINGER):
                with self._lock:
                    if not self._wanted.is_set():
                        self._runs = False
                        return
            self._wanted.clear()
            if self._loop() is None:
                return
            try:
                self._follow()
            except Exception as exc:
                self._post(self._fail, exc)

    def _follow(self) -> None:
        """Pass on what arrives until nobody waits any more."""
        while self._watch.ids or self._watch.inbox:
            metas = self._waiter.next(self._watch, time.monotonic() + TURN)
            ready = [meta for meta in metas if meta["status"] in states.READY_STATES]
            if (ready and not self._post(self._deliver, ready)) or self._loop() is None:
                self._waiter.reduce(self._watch, list(self._watch.ids))

    def _post(self, function: Any, argument: Any) -> bool:
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(function, argument)
                return True
        except RuntimeError:
            # Closed: nobody waits.
            return False
        return False

    # -- in the loop's thread

    def _deliver(self, metas: list[Meta]) -> None:
        for meta in metas:
            for future in self._futures.pop(meta["task_id"], ()):
                if not future.done():
                    future.set_result(meta)

    def _fail(self, exc: Exception) -> None:
        """The store stayed away: tell everybody."""
        waiting, self._futures = self._futures, {}
        self._waiter.reduce(self._watch, list(waiting))
        for futures in waiting.values():
            for future in futures:
                if not future.done():
                    future.set_exception(exc)


#: asyncio's TimeoutError, which is the built-in one.
builtins_timeout = asyncio.TimeoutError

_by_loop: weakref.WeakKeyDictionary[Any, weakref.WeakKeyDictionary[Waiter, AwaitedResults]] = (
    weakref.WeakKeyDictionary()
)


def awaited_results(waiter: Waiter) -> AwaitedResults:
    """Return what the running loop waits with on a backend's waiter."""
    loop = asyncio.get_running_loop()
    of_loop = _by_loop.get(loop)
    if of_loop is None:
        of_loop = _by_loop[loop] = weakref.WeakKeyDictionary()
    awaited = of_loop.get(waiter)
    if awaited is None:
        awaited = of_loop[waiter] = AwaitedResults(loop, waiter)
    return awaited


def _forget() -> None:
    _by_loop.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
