"""For backends written against Celery's consumer classes: they wait through the same `Waiter`.

A backend of one's own subclasses `BaseResultConsumer` and mixes `AsyncBackendMixin` in. New
backends implement a `ResultSource` instead.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from taskq.backends.synchronous import SyncBackendMixin
from taskq.backends.waiting import Meta, ResultSource, Wakeup

__all__ = ("AsyncBackendMixin", "BaseResultConsumer")

#: Longest time (seconds) in a consumer's `drain_events`, which cannot be woken up.
SLICE = 0.05


class BaseResultConsumer:
    """Receives states from a store that sends them; subclass it for a store of your own.

    Parameters:
        backend: the backend.
        app: its app.
        accept: content types to read.
        pending_results: unused; kept for Celery's positional order.
        pending_messages: unused; kept for Celery's positional order.
    """

    _connection_errors: tuple[type[BaseException], ...] = ()

    def __init__(
        self,
        backend: Any,
        app: Any,
        accept: Any,
        pending_results: Any = None,
        pending_messages: Any = None,
    ) -> None:
        self.backend = backend
        self.app = app
        self.accept = accept
        self._arrived: list[Meta] = []

    def start(self, initial_task_id: str, **kwargs: Any) -> None:
        """Connect, and consume the states of the first task."""
        raise NotImplementedError(f"{type(self).__name__} must implement start()")

    def stop(self) -> None:
        """Disconnect."""

    def drain_events(self, timeout: float | None = None) -> Any:
        """Block at most `timeout` seconds for states, and give them to `on_state_change`."""
        raise NotImplementedError(f"{type(self).__name__} must implement drain_events()")

    def consume_from(self, task_id: str) -> None:
        """Consume the states of a task."""
        raise NotImplementedError(f"{type(self).__name__} must implement consume_from()")

    def cancel_for(self, task_id: str) -> None:
        """Consume the states of a task no more."""
        raise NotImplementedError(f"{type(self).__name__} must implement cancel_for()")

    def on_after_fork(self) -> None:
        """Called in a forked child: forget the parent's connections."""

    def on_state_change(self, meta: Meta, message: Any) -> None:
        """Take a state that has arrived."""
        self._arrived.append(meta)

    def take_arrived(self) -> list[Meta]:
        """Return the states that have arrived since the last call."""
        arrived, self._arrived = self._arrived, []
        return arrived


class ConsumerSource(ResultSource):
    """Makes a `BaseResultConsumer` a source of a `Waiter`."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._consumer: BaseResultConsumer = backend.result_consumer
        self._started = False
        self.recoverable_errors = self._consumer._connection_errors

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        for task_id in task_ids:
            if self._started:
                self._consumer.consume_from(task_id)
            else:
                self._consumer.start(task_id)
                self._started = True
        return self._backend.read_metas(task_ids)  # type: ignore[no-any-return]

    def end(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._consumer.cancel_for(task_id)

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            try:
                self._consumer.drain_events(timeout=max(0.0, min(left, SLICE)))
            except TimeoutError:
                pass  # nothing came in this slice
            arrived = self._consumer.take_arrived()
            if arrived or left <= 0 or wakeup.is_set():
                return arrived

    def disconnect(self) -> None:
        if self._started:
            self._started = False
            self._consumer.stop()

    def after_fork(self) -> None:
        self._started = False
        self._consumer.on_after_fork()


class AsyncBackendMixin(SyncBackendMixin):
    """The waiting part of a backend that has a `result_consumer`."""

    #: Receives the states; set by the backend's ``__init__``.
    result_consumer: Any = None

    def create_result_source(self) -> ResultSource:
        """Return a source that drains the `result_consumer`."""
        return ConsumerSource(self)

    def on_result_fulfilled(self, result: Any) -> None:
        """Called when a followed result is ready; `cancel_for` is called by itself."""
