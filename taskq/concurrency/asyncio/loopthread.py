"""The event loop that coroutine tasks live on, and the thread it runs in."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

#: Seconds that a loop has to end; after them its thread is left behind.
END_GRACE = 5.0


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class LoopThread:
    """An event loop in a daemon thread.

    Its life: `start`, any number of `post`, `stop`.
    """

    def __init__(self, name: str) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._ended = threading.Event()

    @property
    def ident(self) -> int | None:
        """Identifier of the thread."""
        return self._thread.ident

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Call a function soon in the loop's thread; does nothing once the loop has ended."""
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            logger.debug("The loop has ended: %r is not called", function)

    def stop(self, grace: float = END_GRACE) -> bool:
        """Cancel what still runs, close async generators and the loop; False when it is blocked."""
        if not self._thread.is_alive():
            return True
        self.post(self.loop.stop)
        if self._ended.wait(grace):
            self._thread.join()
            return True
        logger.warning("The event loop did not end within %s seconds: it is left behind", grace)
        return False

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self._finish()
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
            self._ended.set()

    def _finish(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=END_GRACE / 2))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
