"""Following results on an event loop where the store's client blocks: in a thread beside the loop.

The thread takes part in the backend's `Waiter` like any other that waits, so the store sees one
subscriber.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from taskq.backends.awaiting import AwaitedResults, Follower
from taskq.backends.waiting import Waiter, Watch

__all__ = ("ThreadFollower",)

#: Seconds of one turn of the thread.
TURN = 1.0
#: Seconds that the thread stays with nobody waiting: the next one often comes at once.
LINGER = 5.0


class ThreadFollower(Follower):
    """Follows what a `Waiter` hears; runs a thread while somebody waits.

    - waiter: the backend's.
    """

    def __init__(self, awaited: AwaitedResults, waiter: Waiter) -> None:
        super().__init__(awaited)
        self._wanted = wanted = threading.Event()
        # A loop that is done with takes its thread along: some servers make one for each request.
        self._loop = weakref.ref(asyncio.get_running_loop(), lambda _: wanted.set())
        self._waiter = waiter
        self._watch = Watch(())
        self._lock = threading.Lock()
        self._runs = False

    def begin(self, task_ids: Sequence[str]) -> None:
        self._waiter.extend(self._watch, task_ids)
        with self._lock:
            self._wanted.set()
            if self._runs:
                return
            self._runs = True
        threading.Thread(target=self._run, name="taskq-results", daemon=True).start()

    def end(self, task_ids: Sequence[str]) -> None:
        self._waiter.reduce(self._watch, [each for each in task_ids if each in self._watch.ids])

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
                self._post(self.fail, exc)

    def _follow(self) -> None:
        """Pass on what arrives until nobody waits any more."""
        while self._watch.ids or self._watch.inbox:
            metas = self._waiter.next(self._watch, time.monotonic() + TURN)
            if (metas and not self._post(self.deliver, metas)) or self._loop() is None:
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
