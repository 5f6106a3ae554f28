"""Waiting for handles on an event loop: what `taskq.result.awaitable` does.

Imported by the first coroutine that waits, as it brings asyncio along.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from taskq.backends.awaiting import awaited_results
from taskq.backends.synchronous import SyncBackendMixin
from taskq.exceptions import TimeoutError
from taskq.result.asyncresult import AsyncResult
from taskq.result.awaitable import AwaitableSet
from taskq.result.guards import assert_will_not_block
from taskq.utils.asyncclient import running_loop, shares_loop

__all__ = ("finished_one_by_one", "joined", "present_metas", "value_of")


def _prepare(*, disable_sync_subtasks: bool) -> None:
    """Raise RuntimeError outside asyncio, and in tasks that hold a process or thread meanwhile."""
    running_loop()
    if disable_sync_subtasks and not shares_loop():
        assert_will_not_block()


async def value_of(
    result: Any,
    timeout: float | None,
    *,
    propagate: bool,
    follow_parents: bool,
    disable_sync_subtasks: bool,
) -> Any:
    """Wait for an `AsyncResult` and return its value; see `AwaitableResult.aget`."""
    _prepare(disable_sync_subtasks=disable_sync_subtasks)
    if result.ignored:
        return None
    if result._cache is None:
        parents = list(_leaves(result._parents())) if follow_parents and propagate else []
        if parents:
            result._maybe_set_cache(await _meta_unless_one_fails(result, parents, timeout))
        else:
            result._maybe_set_cache(await _meta(result, timeout))
    return result.maybe_throw(propagate=propagate)


async def present_metas(results: Sequence[Any]) -> Sequence[Any] | None:
    """Return what is stored of tasks now, in order; their handles keep what is final.

    None where handles are not read in the usual way, or are no handles on single tasks.

    Raises RuntimeError outside asyncio.
    """
    running_loop()
    if not all(isinstance(each, AsyncResult) and _is_read_as_usual(each) for each in results):
        return None
    by_backend: dict[int, list[Any]] = {}
    for result in results:
        if result._cache is None:
            by_backend.setdefault(id(result.backend), []).append(result)
    metas: dict[int, Any] = {}
    for unread in by_backend.values():
        awaited = awaited_results(unread[0].backend)
        read = await awaited.metas_now([each.id for each in unread])
        for result, meta in zip(unread, read, strict=True):
            metas[id(result)] = result._maybe_set_cache(meta)
    return [metas.get(id(each), each._cache) for each in results]


#: How a handle is read.
_READING = ("_get_task_meta", "state", "result", "info", "ready", "successful")


def _is_read_as_usual(result: AsyncResult[Any]) -> bool:
    cls, app = type(result), result.app
    return (
        all(getattr(cls, name) is getattr(AsyncResult, name) for name in _READING)
        and isinstance(result.backend, SyncBackendMixin)
        and app is not None
        and not app.conf.task_always_eager
    )


def _leaves(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        if isinstance(node, AwaitableSet):
            yield from node._leaves()  # type: ignore[attr-defined]  # a ResultSet
        else:
            yield node


async def _meta(result: Any, timeout: float | None = None) -> Any:
    return await awaited_results(result.backend).meta(result.id, timeout)


async def _meta_unless_one_fails(result: Any, parents: list[Any], timeout: float | None) -> Any:
    """Return the meta of a task when it is ready; raise if one fails that it comes after."""
    for parent in parents:
        if parent._cache is not None:
            parent.maybe_throw()
    own = asyncio.ensure_future(_meta(result))
    before = {
        asyncio.ensure_future(_meta(parent)): parent for parent in parents if parent._cache is None
    }
    unfinished = {own, *before}
    try:
        async with _limited(timeout):
            while not own.done():
                finished, unfinished = await asyncio.wait(
                    unfinished, return_when=asyncio.FIRST_COMPLETED
                )
                for future in finished - {own}:
                    before[future]._maybe_set_cache(future.result())
                    before[future].maybe_throw()
        return own.result()
    finally:
        await _cancelled([own, *before])


@asynccontextmanager
async def _limited(timeout: float | None) -> AsyncIterator[None]:
    """Raise taskq's TimeoutError when the time is up; a task may have failed with the built-in."""
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            yield
    except builtins.TimeoutError as exc:
        if not scope.expired():
            raise
        raise TimeoutError("The operation timed out.") from exc


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
        async with _limited(timeout):
            return list(await asyncio.gather(*waiting))
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
