"""The waiting part of a backend: what `AsyncResult` and `ResultSet` call.

All of it stands on the backend's `Waiter`.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

from kombu.utils.url import maybe_sanitize_url

from taskq.backends.polling import PollingSource
from taskq.backends.waiting import Meta, OnInterval, OnMessage, ResultSource, Waiter

__all__ = ("SyncBackendMixin",)


class SyncBackendMixin:
    """The waiting part of a backend, on top of its `Waiter`."""

    url: str | None
    retry_policy: dict[str, Any]

    @property
    def waiter(self) -> Waiter:
        """What threads wait on; made on first use."""
        waiter: Waiter | None = self.__dict__.get("_waiter")
        if waiter is None:
            waiter = Waiter(
                self.create_result_source,
                retry_policy=self.retry_policy,
                url=maybe_sanitize_url(self.url or ""),
            )
            # setdefault is atomic: of two threads that come here, both get the same waiter
            waiter = self.__dict__.setdefault("_waiter", waiter)
        return waiter

    def create_result_source(self) -> ResultSource:
        """Return where the `waiter` gets states from; stores that notify override it."""
        return PollingSource(self)  # type: ignore[arg-type]  # a backend has both

    @property
    def is_async(self) -> bool:
        """Results can be resolved as they arrive (`add_pending_result`)."""
        return True

    def wait_for(
        self,
        task_id: str,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_interval: OnInterval | None = None,
    ) -> Meta:
        """Block until a task is ready and return its meta; see `Waiter.wait_for`."""
        return self.waiter.wait_for(task_id, timeout, interval, on_interval)

    def wait_for_pending(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
        callback: Any = None,
        propagate: bool = True,
    ) -> Any:
        """Block until `result` is ready; return its value or raise its exception.

        Parameters:
            result: an AsyncResult.
            timeout: seconds; None waits for ever.
            interval: seconds between two calls of `on_interval`.
            no_ack: for brokers: messages are acknowledged as they are delivered.
            on_message: called with the meta of every state seen.
            on_interval: called without arguments every `interval` seconds.
            callback: called with the task's id and value.
            propagate: raise the exception of a failed task rather than return it.
        """
        meta = self.waiter.wait_for(result.id, timeout, interval, on_interval, on_message)
        result._maybe_set_cache(meta)
        return result.maybe_throw(propagate=propagate, callback=callback)

    def iter_native(
        self,
        result: Any,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: OnMessage | None = None,
        on_interval: OnInterval | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield ``(task_id, meta)`` of the tasks of a ResultSet as they become ready.

        Parameters are those of `wait_for_pending`.
        """
        if not result.results:
            return iter([])
        task_ids = {each.id for each in result.results}
        return self.waiter.iter_ready(task_ids, timeout, interval, on_interval, on_message)

    def add_pending_result(
        self, result: Any, weak: bool = False, start_drainer: bool = True
    ) -> Any:
        """Resolve `result` when any thread sees that it is ready.

        Parameters:
            result: an AsyncResult.
            weak: do not keep it alive.
            start_drainer: unused; whoever waits drains.
        """
        self.waiter.follow(result, weak=weak)
        return result

    def add_pending_results(self, results: Iterable[Any], weak: bool = False) -> None:
        """Call `add_pending_result` with each result."""
        for result in results:
            self.add_pending_result(result, weak=weak)

    def remove_pending_result(self, result: Any) -> Any:
        """Undo `add_pending_result`."""
        self.waiter.unfollow(result)
        return result

    # -- waiting on an event loop -------------------------------------------------

    @cached_property
    def awaited_by_loop(self) -> weakref.WeakKeyDictionary[Any, Any]:
        """What each event loop waits for results with."""
        return weakref.WeakKeyDictionary()

    def create_follower(self, awaited: Any) -> Any:
        """Return what tells coroutines of the running loop of results.

        A thread in which `waiter` waits, unless the store has something better.
        """
        # Imported when the first coroutine waits: it brings asyncio along.
        from taskq.backends.threadfollower import ThreadFollower

        return ThreadFollower(awaited, self.waiter)

    def stop_awaiting(self) -> None:
        """Give up the connections that event loops wait for results with."""
        if "awaited_by_loop" in self.__dict__:
            from taskq.backends.awaiting import stop_awaiting

            stop_awaiting(self)
