"""Waiting for results on an event loop: any number of coroutines through one subscription.

A loop has one `AwaitedResults` for each backend it waits on. A `Follower` tells it of results: one
of the store's own, which needs no thread, or a `ThreadFollower`.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from taskq import states
from taskq.backends.unreadable import error_of
from taskq.backends.waiting import E_RETRY_LIMIT_EXCEEDED, Meta
from taskq.exceptions import TimeoutError
from taskq.utils.asyncclient import closed_with_loop, loop_runs
from taskq.utils.inthread import call_in_thread

__all__ = ("AwaitedResults", "Follower", "Patience", "awaited_results", "stop_awaiting")


E_TIMED_OUT = "The operation timed out."


class Follower:
    """Tells the coroutines of one loop of results; a store that can do so subclasses it.

    All of it is called in the loop's thread, and calls back there.

    - awaited: whose `deliver` and `fail` are to be called.
    """

    def __init__(self, awaited: AwaitedResults) -> None:
        # Weak, so that what a thread of a follower holds lets go of the loop.
        self._awaited = weakref.ref(awaited)

    def begin(self, task_ids: Sequence[str]) -> None:
        """Deliver the metas of these tasks from now on, and those that are stored already."""
        raise NotImplementedError(f"{type(self).__name__} must implement begin()")

    def end(self, task_ids: Sequence[str]) -> None:
        """Nobody waits for these tasks any more."""
        raise NotImplementedError(f"{type(self).__name__} must implement end()")

    async def read(self, task_ids: Sequence[str]) -> Sequence[Meta] | None:
        """Return the metas of tasks as they are now, in order; None where a thread is to read."""
        return None

    def close(self) -> None:
        """Give connections and descriptors up."""

    def deliver(self, metas: Sequence[Meta]) -> None:
        """Pass metas on to those who wait."""
        awaited = self._awaited()
        if awaited is not None:
            awaited.deliver(metas)

    def fail(self, exc: Exception, task_ids: Sequence[str] | None = None) -> None:
        """These tasks can't be waited for, None for all: the store stayed away, for example."""
        awaited = self._awaited()
        if awaited is not None:
            awaited.fail(exc, task_ids)


class Patience:
    """How often, and after which pauses, a store is tried again that is away.

    - policy: as for `Waiter`; url: of the store, for the error.
    """

    def __init__(self, policy: dict[str, Any], url: str) -> None:
        self._policy = policy
        self._url = url
        self._failures = 0
        self._error: BaseException | None = None

    def failed(self, exc: BaseException) -> None:
        """Take note that a try failed."""
        self._failures += 1
        self._error = exc

    def succeeded(self) -> None:
        """Take note that the store is there."""
        self._failures = 0
        self._error = None

    async def pause(self) -> None:
        """Wait before a try. Raises RuntimeError when the policy allows for none."""
        policy, failures, error = self._policy, self._failures, self._error
        if not failures:
            return
        limit = policy.get("max_retries")
        if limit is not None and failures > limit:
            self.succeeded()  # who comes next has all the tries
            raise RuntimeError(E_RETRY_LIMIT_EXCEEDED.format(url=self._url, error=error)) from error
        pause = policy.get("interval_start", 0) + policy.get("interval_step", 1) * (failures - 1)
        await asyncio.sleep(max(0.0, min(pause, policy.get("interval_max", 1))))


class AwaitedResults:
    """What the coroutines of one loop wait for on one backend.

    - backend: makes the follower.
    """

    def __init__(self, backend: Any) -> None:
        self._futures: dict[str, list[asyncio.Future[Meta]]] = {}
        #: Tasks that somebody began to wait for in this turn of the loop.
        self._new: dict[str, None] = {}
        self._backend = backend
        self._follower: Follower = backend.create_follower(self)
        self._end = closed_with_loop(self._follower.close)

    async def meta(self, task_id: str, timeout: float | None = None) -> Meta:
        """Return the meta of a task when it is ready.

        - timeout: seconds; None waits for ever.

        Raises taskq.exceptions.TimeoutError.
        """
        if timeout is not None and timeout <= 0:
            return await self._meta_now(task_id)
        future = self._enter(task_id)
        alarm = None
        if timeout is not None:
            alarm = asyncio.get_running_loop().call_later(timeout, _time_out, future)
        try:
            return await future
        finally:
            if alarm is not None:
                alarm.cancel()
            self._leave(task_id, future)

    async def metas_now(self, task_ids: Sequence[str]) -> Sequence[Meta]:
        """Return the metas of tasks as they are now, in order; those of unknown ones say PENDING.

        Raises what the backend's `get_task_meta` raises.
        """
        metas = await self._follower.read(task_ids)
        if metas is None:
            metas = await call_in_thread(_read_in_turn, self._backend, task_ids)
        return metas

    async def _meta_now(self, task_id: str) -> Meta:
        (meta,) = await self.metas_now([task_id])
        if meta["status"] not in states.READY_STATES:
            raise TimeoutError(E_TIMED_OUT)
        return meta

    def deliver(self, metas: Sequence[Meta]) -> None:
        """Give those of the metas that are of tasks that are ready to those who wait for them."""
        for meta in metas:
            if meta["status"] in states.READY_STATES:
                self._resolve(meta)

    def fail(self, exc: Exception, task_ids: Sequence[str] | None = None) -> None:
        """Raise an error in those who wait for these tasks, None for everybody."""
        failed = list(self._futures) if task_ids is None else task_ids
        for task_id in failed:
            for future in self._futures.pop(task_id, ()):
                if not future.done():
                    future.set_exception(exc)
        self._follower.end(failed)

    def close(self) -> None:
        """Give up the connection; who waits goes on with a new one."""
        self._follower.close()
        if self._futures and loop_runs():
            self._follower.begin(list(self._futures))

    def _enter(self, task_id: str) -> asyncio.Future[Meta]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Meta] = loop.create_future()
        waiting = self._futures.get(task_id)
        if waiting is not None:
            waiting.append(future)
            return future
        self._futures[task_id] = [future]
        if len(self._futures) == 1:
            self._follower.begin([task_id])
            return future
        if not self._new:
            # Where many wait, with all who come in this turn.
            loop.call_soon(self._begin)
        self._new[task_id] = None
        return future

    def _begin(self) -> None:
        new, self._new = self._new, {}
        task_ids = [task_id for task_id in new if task_id in self._futures]
        if task_ids:
            self._follower.begin(task_ids)

    def _leave(self, task_id: str, future: asyncio.Future[Meta]) -> None:
        """Stop waiting; the last one to leave ends the subscription."""
        waiting = self._futures.get(task_id)
        if waiting is None or future not in waiting:
            return
        waiting.remove(future)
        if not waiting:
            del self._futures[task_id]
            self._follower.end([task_id])

    def _resolve(self, meta: Meta) -> None:
        task_id = meta["task_id"]
        futures = self._futures.pop(task_id, None)
        if futures is None:
            return
        error = error_of(meta)
        for future in futures:
            if future.done():
                continue
            if error is None:
                future.set_result(meta)
            else:
                future.set_exception(error)
        self._follower.end([task_id])


def _read_in_turn(backend: Any, task_ids: Sequence[str]) -> list[Meta]:
    return [backend.get_task_meta(task_id) for task_id in task_ids]


def _time_out(future: asyncio.Future[Meta]) -> None:
    if not future.done():
        future.set_exception(TimeoutError(E_TIMED_OUT))


def awaited_results(backend: Any) -> AwaitedResults:
    """Return what the running loop waits with on a backend."""
    loop = asyncio.get_running_loop()
    by_loop = backend.awaited_by_loop
    awaited: AwaitedResults | None = by_loop.get(loop)
    if awaited is None:
        # Some servers make a loop for each request.
        stop_awaiting(backend, only_closed=True)
        awaited = by_loop[loop] = AwaitedResults(backend)
    return awaited


def stop_awaiting(backend: Any, *, only_closed: bool = False) -> None:
    """Give up the connections that loops wait with on a backend; any thread may call it.

    - only_closed: those of loops that have ended.
    """
    for loop, awaited in list(backend.awaited_by_loop.items()):
        if loop.is_closed():
            awaited.close()
            backend.awaited_by_loop.pop(loop, None)
        elif not only_closed:
            with suppress(RuntimeError):  # closed just now
                loop.call_soon_threadsafe(awaited.close)
