"""A coroutine into which an exception can be thrown, and one with time limits.

asyncio can only cancel a task. Here the cancellation is exchanged on its way in for the exception
that is meant, so that the coroutine can catch it at the await where it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded

__all__ = ("HardLimitHit", "Interruptible", "run_limited")

logger = logging.getLogger(__name__)

#: Seconds that a cancelled coroutine has for its cleanup before it is abandoned.
CLEANUP_GRACE = 10.0
#: Coroutines that were abandoned and still run: asyncio itself holds tasks weakly.
_abandoned: set[Any] = set()


class HardLimitHit(BaseException):
    """A coroutine was ended by its hard time limit; ``args[0]`` is the limit in seconds."""


class Interruptible:
    """Awaits a coroutine; `throw` makes an exception appear at its next await.

    - coroutine: what is awaited; once.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pending: BaseException | None = None
        #: Whether it was told from outside to end.
        self.is_killed = False
        #: Whether the coroutine's own code runs right now, as opposed to waiting.
        self.stepping = False

    def throw(self, exc: BaseException) -> None:
        """Raise ``exc`` in the coroutine, at its next await. To be called in the loop's thread."""
        if self._task is None:
            self._pending = exc
        elif not self._task.done():
            self._pending = exc
            self._task.cancel()

    def throw_soon(self, exc: BaseException) -> None:
        """Do the same, from a signal handler or from another thread."""
        if self._loop is None:
            self._pending = exc
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.throw, exc)

    def cancel_soon(self) -> None:
        """Cancel it for good, from a signal handler or from another thread."""
        self.is_killed = True
        self.throw_soon(asyncio.CancelledError())

    async def run(self) -> Any:
        """Await it, as a coroutine for an asyncio task."""
        return await self

    def __await__(self) -> Generator[Any, None, Any]:
        coroutine = self._coroutine
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._pending is not None and self._task is not None:
            self._task.cancel()
        thrown: BaseException | None = None
        while True:
            self.stepping = True
            try:
                waited = coroutine.send(None) if thrown is None else coroutine.throw(thrown)
            except StopIteration as stop:
                return stop.value
            finally:
                self.stepping = False
            thrown = None
            try:
                yield waited
            except asyncio.CancelledError as exc:
                thrown, self._pending = self._pending, None
                if thrown is None:
                    thrown = exc
                elif self._task is not None:
                    self._task.uncancel()
            except BaseException as exc:
                thrown = exc


async def run_limited(
    coroutine: Coroutine[Any, Any, Any],
    soft: float | None,
    hard: float | None,
    on_soft: Callable[[float], None] | None = None,
    grace: float = CLEANUP_GRACE,
) -> Any:
    """Run a coroutine within its time limits and return what it returns.

    - soft: seconds after which SoftTimeLimitExceeded is raised at its next await; None for never.
    - hard: seconds after which it is cancelled.
    - on_soft: called with the limit when the soft limit is hit.
    - grace: seconds until a cancelled coroutine that does not end is abandoned.

    Raises what the coroutine raises; HardLimitHit.
    """
    loop = asyncio.get_running_loop()
    body = Interruptible(coroutine)
    task = loop.create_task(body.run())

    def soft_hit() -> None:
        if not task.done():
            body.throw(SoftTimeLimitExceeded(soft))
            if on_soft is not None and soft:
                on_soft(soft)

    alarm = loop.call_later(soft, soft_hit) if soft else None
    try:
        await asyncio.wait({task}, timeout=hard or None)
    except asyncio.CancelledError:
        await _end(task, grace)
        raise
    finally:
        if alarm is not None:
            alarm.cancel()
    if task.done():
        return task.result()
    await _end(task, grace)
    raise HardLimitHit(hard)


async def _end(task: asyncio.Task[Any], grace: float) -> None:
    """Cancel a task and wait for its cleanup; leave it alone when that takes too long."""
    task.cancel()
    await asyncio.wait({task}, timeout=grace)
    if task.done():
        if not task.cancelled() and task.exception() is not None:
            logger.debug("A cancelled coroutine raised: %r", task.exception())
        return
    _abandoned.add(task)
    task.add_done_callback(_abandoned.discard)
    logger.error("%r did not end %s seconds after it was cancelled: abandoned", task, grace)
