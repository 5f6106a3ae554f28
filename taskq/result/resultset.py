"""Handles on several tasks: a set of results, waited for one by one or all at once."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vine import Thenable, barrier, promise

from taskq import states
from taskq._state import app_or_default
from taskq.backends.handles import ResultBase
from taskq.exceptions import TimeoutError
from taskq.result.asyncresult import AsyncResult, read_together
from taskq.result.awaitable import AwaitableSet
from taskq.result.guards import assert_will_not_block

__all__ = ("ResultSet",)

Meta = dict[str, Any]
Callback = Callable[[str, Any], Any]


class ResultSet(ResultBase, AwaitableSet):
    """Several results.

    Parameters:
        results: handles, in the order their values are wanted in.
        app: the app; that of the first result when None.
        ready_barrier: a vine barrier to use for `then`.
    """

    _app: Any = None
    #: The handles, in order.
    results: list[Any] = None  # type: ignore[assignment]

    def __init__(
        self,
        results: Iterable[Any],
        app: Any = None,
        ready_barrier: Any = None,
        **kwargs: Any,
    ) -> None:
        if app is not None:
            self._app = app
        self.results = results if isinstance(results, list) else list(results)
        self._barrier: Any = None
        self._ready_promise: Any = None
        if ready_barrier is not None:
            self._set_ready_barrier(ready_barrier)

    # -- the set ------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """Add a result unless it is in the set."""
        if result not in self.results:
            self.results.append(result)
            if self._barrier is not None:
                self._barrier.add(result)

    def remove(self, result: Any) -> None:
        """Remove a result, given as a handle or an id.

        Raises:
            KeyError: it is not in the set.
        """
        if isinstance(result, str):
            result = self.app.AsyncResult(result)
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Remove a result if it is in the set."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add those of the results that are not in the set."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Remove all results."""
        self.results[:] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ResultSet):
            return other.results == self.results
        return NotImplemented

    __hash__: Any = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(each) for each in self.results)}]>"

    # -- state ----------------------------------------------------------------------

    def successful(self) -> bool:
        """Tell whether all tasks have succeeded."""
        self._read_states()
        return all(self._is_known(each) and each.successful() for each in self.results)

    def failed(self) -> bool:
        """Tell whether any task has failed."""
        self._read_states()
        return any(self._is_known(each) and each.failed() for each in self.results)

    def waiting(self) -> bool:
        """Tell whether any task is not ready."""
        return not self.ready()

    def ready(self) -> bool:
        """Tell whether all tasks are ready."""
        self._read_states()
        return all(self._is_known(each) and each.ready() for each in self.results)

    def completed_count(self) -> int:
        """Return how many tasks have succeeded."""
        self._read_states()
        return sum(self._is_known(each) and each.successful() for each in self.results)

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the exception of the first task that failed or was revoked.

        Parameters:
            callback: called with the id and value of each task.
            propagate: raise; else only call `callback`.
        """
        self._read_states()
        for each in self.results:
            if self._is_known(each) or callback is not None:
                each.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw  # Celery's old name

    def _read_states(self) -> None:
        """Read the states of all tasks not known to be ready, in one call to the backend."""
        read_together(self.results)

    @staticmethod
    def _is_known(result: Any) -> bool:
        """Tell whether a result just read is ready, or has to be asked itself."""
        return not isinstance(result, AsyncResult) or result._cache is not None

    def _leaves(self) -> Iterator[Any]:
        """Yield the handles of single tasks in this set and in the sets in it."""
        for each in self.results:
            if isinstance(each, ResultSet):
                yield from each._leaves()
            else:
                yield each

    def forget(self) -> None:
        """Remove the results of all tasks from the backend."""
        for each in self.results:
            each.forget()

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Ask all workers to drop these tasks; see `AsyncResult.revoke`."""
        return self.app.control.revoke(
            [each.id for each in self._leaves()],
            connection=connection,
            timeout=timeout,
            terminate=terminate,
            reply=wait,
            signal=signal,
        )

    # -- waiting ----------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait until all tasks are ready and return their values in order.

        Parameters:
            timeout: seconds for all together; None waits for ever.
            propagate: raise the exception of a task that failed or was revoked.
            interval: see `AsyncResult.get`.
            callback: called with the id and value of each task; nothing is returned then.
            no_ack: see `AsyncResult.get`.
            on_message: called with the meta of every state seen.
            disable_sync_subtasks: refuse to wait inside a task.
            on_interval: called without arguments every `interval` seconds.

        Raises:
            taskq.exceptions.TimeoutError: not all are ready after `timeout` seconds.
        """
        join = self.join_native if self.supports_native_join else self.join
        return join(
            timeout=timeout,
            propagate=propagate,
            interval=interval,
            callback=callback,
            no_ack=no_ack,
            on_message=on_message,
            disable_sync_subtasks=disable_sync_subtasks,
            on_interval=on_interval,
        )

    def join(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[Any]:
        """Wait for one task after the other; see `get`."""
        if disable_sync_subtasks:
            assert_will_not_block()
        deadline = Deadline(timeout)
        values = []
        for each in self.results:
            value = each.get(
                timeout=deadline.left(),
                propagate=propagate,
                interval=interval,
                no_ack=no_ack,
                on_message=on_message,
                disable_sync_subtasks=disable_sync_subtasks,
                on_interval=on_interval,
            )
            if callback is not None:
                callback(each.id, value)
            else:
                values.append(value)
        return values

    def join_native(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callback | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> list[Any] | None:
        """Wait for all tasks at once; see `get`. The first failure seen is raised."""
        if disable_sync_subtasks:
            assert_will_not_block()
        deadline = Deadline(timeout)
        positions: dict[str, list[int]] = {}
        for index, each in enumerate(self.results):
            positions.setdefault(each.id, []).append(index)
        values: list[Any] = [None] * len(self.results)
        for task_id, meta in self.iter_native(timeout, interval, no_ack, on_message, on_interval):
            node = self.results[positions[task_id][0]]
            if isinstance(meta, list):
                value = node.join_native(
                    timeout=deadline.left(),
                    propagate=propagate,
                    interval=interval,
                    no_ack=no_ack,
                    on_message=on_message,
                    on_interval=on_interval,
                    disable_sync_subtasks=disable_sync_subtasks,
                )
            else:
                for index in positions[task_id]:
                    self.results[index]._maybe_set_cache(meta)
                value = node.maybe_throw(propagate=propagate)
            if callback is not None:
                callback(task_id, value)
            else:
                for index in positions[task_id]:
                    values[index] = value
        return values if callback is None else None

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float = 0.5,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Yield ``(task_id, meta)`` of each task as it becomes ready.

        A set in this set is yielded as its id and its list of results.
        """
        unknown: dict[str, Any] = {}
        seen: set[str] = set()
        for each in self.results:
            if each.id in seen or each.id in unknown:
                continue
            if isinstance(each, ResultSet):
                yield each.id, each.results  # type: ignore[attr-defined]
            elif each._cache is not None:
                yield each.id, each._cache
            else:
                unknown[each.id] = each
                continue
            seen.add(each.id)
        if unknown:
            yield from self.backend.iter_native(
                ResultSet(list(unknown.values()), app=self.app),
                timeout=timeout,
                interval=interval,
                no_ack=no_ack,
                on_message=on_message,
                on_interval=on_interval,
            )

    def iterate(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5
    ) -> Iterator[Any]:
        """Yield the values of the tasks as they become ready."""
        deadline = Deadline(timeout)
        for task_id, meta in self.iter_native(timeout=timeout, interval=interval):
            node = next(each for each in self.results if each.id == task_id)
            if isinstance(meta, list):
                yield node.get(timeout=deadline.left(), propagate=propagate, interval=interval)
            else:
                node._maybe_set_cache(meta)
                yield node.maybe_throw(propagate=propagate)

    def _iter_meta(self, **kwargs: Any) -> Iterator[Meta]:
        """Yield the metas of the tasks that are ready."""
        self._read_states()
        return (each._cache for each in self._leaves() if each._cache is not None)

    def _failed_join_report(self) -> Iterator[Any]:
        """Yield the results known to have failed."""
        self._read_states()
        return (
            each
            for each in self._leaves()
            if self._is_known(each) and each.state in states.PROPAGATE_STATES
        )

    # -- promises -----------------------------------------------------------------------

    @property
    def on_ready(self) -> Any:
        """The promise that is kept when all tasks are ready."""
        if self._ready_promise is None:
            self._ready_promise = promise(args=(weakref.proxy(self),))
        return self._ready_promise

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call `callback` with this set when all tasks are seen to be ready.

        Parameters are those of `AsyncResult.then`.
        """
        if self._barrier is None:
            self._set_ready_barrier(barrier(self.results))
        return self.on_ready.then(callback, on_error)

    def _set_ready_barrier(self, ready_barrier: Any) -> None:
        self._barrier = ready_barrier
        ready_barrier.then(promise(self._on_ready, weak=True))

    def _on_ready(self) -> None:
        self.on_ready()

    # -- the app ------------------------------------------------------------------------

    @property
    def app(self) -> Any:
        """The app of the set, or of its first result."""
        if self._app is None:
            self._app = self.results[0].app if self.results else app_or_default()
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The backend of the results."""
        for each in self._leaves():
            if each.backend is not None:
                return each.backend
        return self.app.backend

    @property
    def supports_native_join(self) -> bool | None:
        """The backend can wait for all tasks at once; None for an empty set."""
        return self.results[0].supports_native_join if self.results else None


class Deadline:
    """The time that is left of a timeout, over several calls."""

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def left(self) -> float | None:
        """Return the seconds left, None for no limit.

        Raises:
            taskq.exceptions.TimeoutError: none are left.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if left <= 0.0:
            raise TimeoutError("join operation timed out")
        return left


Thenable.register(ResultSet)
