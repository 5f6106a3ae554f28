"""Waiting for handles on an event loop: what `taskq.result.awaitable` does.

Imported by the first coroutine that waits, as it brings asyncio along.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator
from typing import Any

from taskq.backends.awaiting import awaited_results
from taskq.exceptions import TimeoutError
from taskq.result.guards import assert_will_not_block
from taskq.utils.asyncclient import running_loop, shares_loop

__all__ = ("finished_one_by_one", "joined", "value_of")


def _prepare(*, disable_sync_subtasks: bool) -> None:
    """Raise RuntimeError outside asyncio, and in tasks that hold a process or thread meanwhile."""
    running_loop()
    if disable_sync_subtasks and not shares_loop():
        assert_will_not_block()


async def value_of(
    result: Any, timeout: float | None, *, propagate: bool, disable_sync_subtasks: bool
) -> Any:
    """Wait for an `AsyncResult` and return its value; see `AwaitableResult.aget`."""
    _prepare(disable_sync_subtasks=disable_sync_subtasks)
    if result.ignored:
        return None
    if result._cache is None:
        meta = await awaited_results(result.backend.waiter).meta(result.id, timeout)
        result._maybe_set_cache(meta)
    return result.maybe_throw(propagate=propagate)


async def joined(
    results: Any, timeout: float | None, *, propagate: bool, disable_sync_subtasks: bool
) -> list[Any]:
    """Wait for a `ResultSet` and return the values in order; see `AwaitableSet.ajoin`."""
    _prepare(disable_sync_subtasks=disable_sync_subtasks)
    waiting = [
        asyncio.ensure_future(each.aget(propagate=propagate, disable_sync_subtasks=False))
        for each in results.results
    ]
    try:
        async with asyncio.timeout(timeout):
            return list(await asyncio.gather(*waiting))
    except builtins.TimeoutError as exc:
        raise TimeoutError("The operation timed out.") from exc
    finally:
        await _cancelled(waiting)


async def finished_one_by_one(results: Any) -> AsyncIterator[Any]:
    """Yield the handles in a `ResultSet` as their tasks finish."""
    _prepare(disable_sync_subtasks=True)
    waiting = {
        asyncio.ensure_future(each.aget(propagate=False, disable_sync_subtasks=False)): each
        for each in results._leaves()
    }
    unfinished = set(waiting)
    try:
        while unfinished:
            finished, unfinished = await asyncio.wait(
                unfinished, return_when=asyncio.FIRST_COMPLETED
            )
            for future in finished:
                # Raises what kept us from waiting; what the task raised is its value here.
                future.result()
                yield waiting[future]
    finally:
        await _cancelled(list(unfinished))


async def _cancelled(futures: list[Any]) -> None:
    """Cancel what still waits, and take note of what was raised meanwhile."""
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
