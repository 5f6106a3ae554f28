"""The handles' awaitable side: ``await result``, ``aget``, ``async for`` over a group's results.

Nothing here blocks the event loop. Needs asyncio: other libraries are refused with a reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, Generic, TypeVar

from taskq import states
from taskq.utils.inthread import call_in_thread

__all__ = ("AwaitableResult", "AwaitableSet")

R = TypeVar("R")


class Awaitable:
    """What handles on one and on several tasks have in common."""

    async def aready(self: Any) -> bool:
        """Tell whether all of it has succeeded, failed or been revoked."""
        metas = await self._apresent()
        if metas is None:
            return bool(await call_in_thread(self.ready))
        return all(meta["status"] in states.READY_STATES for meta in metas)

    async def _apresent(self) -> Sequence[Any] | None:
        """Return what is stored of the tasks; None where the blocking methods are to read it."""
        # Imported here, as below: it brings asyncio along.
        from taskq.result.awaiting import present_metas

        return await present_metas(self._handles())

    def _handles(self) -> Sequence[Any]:
        raise NotImplementedError(f"{type(self).__name__} must implement _handles()")

    async def arevoke(self: Any, terminate: bool = False, signal: str | None = None) -> None:
        """Ask all workers to drop it; with ``terminate`` also what runs."""
        await call_in_thread(self.revoke, terminate=terminate, signal=signal)

    async def aforget(self: Any) -> None:
        """Remove what is stored of it."""
        await call_in_thread(self.forget)


class AwaitableResult(Awaitable, Generic[R]):
    """The awaitable side of a handle on one task."""

    def __await__(self) -> Generator[Any, None, R]:
        return self.aget().__await__()

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
        follow_parents: bool = True,
    ) -> R:
        """Wait until the task is ready and return its value, without blocking the event loop.

        - timeout: seconds; None waits for ever.
        - propagate: raise the exception of a task that failed or was revoked; else return it.
        - disable_sync_subtasks: refuse to wait inside a task, unless that shares its loop with
          others (``-P asyncio``).
        - follow_parents: raise the exception of a task before it in a chain that failed.

        Raises taskq.exceptions.TimeoutError; RuntimeError inside a task or outside asyncio.
        """
        from taskq.result.awaiting import value_of

        value: R = await value_of(
            self,
            timeout,
            propagate=propagate,
            follow_parents=follow_parents,
            disable_sync_subtasks=disable_sync_subtasks,
        )
        return value

    async def astate(self) -> str:
        """Return the state of the task."""
        metas = await self._apresent()
        return str(metas[0]["status"] if metas else await call_in_thread(getattr, self, "state"))

    async def ainfo(self) -> Any:
        """Return the value of the task, its exception, or the data of its present state."""
        metas = await self._apresent()
        return metas[0]["result"] if metas else await call_in_thread(getattr, self, "info")

    def _handles(self) -> Sequence[Any]:
        return (self,)


class AwaitableSet(Awaitable):
    """The awaitable side of a handle on several tasks."""

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.ajoin().__await__()

    async def ajoin(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """Wait until all tasks are ready and return their values in order.

        - timeout: seconds for all together; None waits for ever.
        - propagate: raise the exception of the first task that is seen to have failed.
        - disable_sync_subtasks: see `AwaitableResult.aget`.

        Raises taskq.exceptions.TimeoutError; RuntimeError inside a task or outside asyncio.
        """
        from taskq.result.awaiting import joined

        return await joined(
            self, timeout, propagate=propagate, disable_sync_subtasks=disable_sync_subtasks
        )

    aget = ajoin

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Yield the handles of the tasks as they finish; their values are at hand then."""
        from taskq.result.awaiting import finished_one_by_one

        async for result in finished_one_by_one(self):
            yield result

    async def acompleted_count(self: Any) -> int:
        """Return how many tasks have succeeded."""
        metas = await self._apresent()
        if metas is None:
            return int(await call_in_thread(self.completed_count))
        return sum(meta["status"] == states.SUCCESS for meta in metas)

    def _handles(self: Any) -> Sequence[Any]:
        return self.results  # type: ignore[no-any-return]
