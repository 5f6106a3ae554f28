"""What an app publishes with on event loops: one `LoopPublisher` for each of them.

A part of `TaskQ`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from typing import Any

from taskq.utils.imports import symbol_by_name
from taskq.utils.inthread import call_in_thread

__all__ = ("OnLoops",)


class OnLoops:
    """The part of an app that knows event loops."""

    _ensure_after_fork: Callable[[], None]

    @cached_property
    def _loop_publishers(self) -> weakref.WeakKeyDictionary[Any, Any]:
        """What publishes for each event loop."""
        return weakref.WeakKeyDictionary()

    @cached_property
    def _loop_publishers_to_be(self) -> weakref.WeakKeyDictionary[Any, Any]:
        """The asyncio tasks that make them."""
        return weakref.WeakKeyDictionary()

    async def _loop_publisher(self) -> Any:
        """Return what publishes for the coroutines of the running loop.

        Raises RuntimeError outside asyncio.
        """
        # Imported by the first coroutine that publishes: most programs run none.
        from taskq.utils.asyncclient import running_loop

        loop = running_loop()
        publisher = self._loop_publishers.get(loop)
        if publisher is not None:
            return publisher
        from asyncio import shield

        making = self._loop_publishers_to_be.get(loop)
        if making is None:
            making = loop.create_task(self._make_loop_publisher(loop))
            self._loop_publishers_to_be[loop] = making
        # All who come before it is made go on in their order then.
        return await shield(making)

    async def _make_loop_publisher(self, loop: Any) -> Any:
        try:
            # What is imported takes a while the first time.
            made = await call_in_thread(_loop_publisher_class, self)
            publisher = self._loop_publishers[loop] = made(self)
        finally:
            self._loop_publishers_to_be.pop(loop, None)
        # Some servers make a loop for each request.
        self._close_loop_publishers(only_closed=True)
        self._ensure_after_fork()
        return publisher

    def _close_loop_publishers(self, *, only_closed: bool = False) -> None:
        """Give up the connections that event loops publish on; any thread may call it.

        - only_closed: those of loops that have ended.
        """
        if "_loop_publishers" not in self.__dict__:
            return
        for loop, publisher in list(self._loop_publishers.items()):
            if loop.is_closed():
                publisher.close()
                self._loop_publishers.pop(loop, None)
            elif not only_closed:
                with suppress(RuntimeError):  # closed just now
                    loop.call_soon_threadsafe(publisher.close)

    def _forget_loop_publishers(self) -> None:
        """In a forked child: they are those of the parent's loops."""
        self.__dict__.pop("_loop_publishers", None)
        self.__dict__.pop("_loop_publishers_to_be", None)


def _loop_publisher_class(app: Any) -> Any:
    app.amqp  # noqa: B018 - makes it, which brings kombu along
    return symbol_by_name("taskq.app.looppublisher:LoopPublisher")
