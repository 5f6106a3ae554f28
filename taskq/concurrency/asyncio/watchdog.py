"""Finds out when a task blocks the event loop, and says which one and where."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

from taskq.concurrency.asyncio.loopthread import LoopThread

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which the loop counts as blocked.
BLOCKED = 0.25
#: Seconds between questions while tasks run, and while none does.
BUSY_INTERVAL = 0.1
IDLE_INTERVAL = 1.0
#: Seconds between looks for the answer.
LOOK = 0.05


class Watchdog:
    """A thread that asks the loop again and again whether it turns.

    - thread: the loop's; is_busy: whether tasks are in flight.
    """

    def __init__(self, thread: LoopThread, is_busy: Callable[[], bool]) -> None:
        self._loop_thread = thread
        self._is_busy = is_busy
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asyncio-watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(BUSY_INTERVAL if self._is_busy() else IDLE_INTERVAL):
            self._answered.clear()
            asked = time.monotonic()
            self._loop_thread.post(self._answered.set)
            culprit = None
            while not self._answered.wait(LOOK) and not self._stopped.is_set():
                if culprit is None and time.monotonic() - asked > BLOCKED:
                    culprit = self._culprit()
                    logger.warning(
                        "%s blocks the event loop: other tasks wait meanwhile. Await instead, or"
                        " make it a plain function, which runs in a thread.",
                        culprit,
                    )
            if culprit is not None:
                held = time.monotonic() - asked
                logger.warning("%s blocked the event loop for %.2f seconds", culprit, held)

    def _culprit(self) -> str:
        """Return the name of the task that runs, and the line it is at."""
        thread = self._loop_thread
        frame = sys._current_frames().get(thread.ident or 0)
        place = ""
        if frame is not None:
            line = traceback.extract_stack(frame)[-1]
            place = f" ({line.filename}:{line.lineno} in {line.name})"
        try:
            task = asyncio.current_task(thread.loop)
        except RuntimeError:
            task = None
        name = task.get_name() if task is not None else "A callback"
        return f"{name}{place}"
