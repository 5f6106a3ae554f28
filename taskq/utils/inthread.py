"""The door to `taskq.utils.asyncclient`, which is opened when a coroutine first goes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ("call_in_thread", "finish_in_thread")


async def call_in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that blocks in the thread of the running event loop; see `asyncclient`."""
    # Imported here: it brings asyncio along, which most programs don't use.
    from taskq.utils import asyncclient

    return await asyncclient.call_in_thread(function, *args, **kwargs)


async def finish_in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Do the same, and leave it only once it has ended; see `asyncclient`."""
    from taskq.utils import asyncclient

    return await asyncclient.finish_in_thread(function, *args, **kwargs)
