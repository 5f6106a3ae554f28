"""The handle on one task: its state, its result, and waiting for it.

`delay` and `apply_async` return one; ``app.AsyncResult(id)`` makes one for a known id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vine import Thenable, promise

from taskq import states
from taskq._state import app_or_default, get_current_worker_task, task_join_will_block
from taskq.backends.handles import ResultBase, result_from_tuple
from taskq.exceptions import ImproperlyConfigured, IncompleteStream, TimeoutError
from taskq.result.awaitable import AwaitableResult
from taskq.result.guards import assert_will_not_block

if TYPE_CHECKING:
    from taskq.utils.graph import DependencyGraph

__all__ = ("AsyncResult",)

R = TypeVar("R")

Meta = dict[str, Any]


class AsyncResult(ResultBase, AwaitableResult[R], Generic[R]):
    """Handle on the state and result of a task.

    What the result backend says of a task that is ready is kept: asking again costs nothing.

    Parameters:
        id: id of the task.
        backend: where its result is; the app's when None.
        task_name: unused; kept for Celery's positional order.
        app: the app; the current one when None.
        parent: handle of the step before it in a chain.

    Raises:
        ValueError: `id` is None.
    """

    app: Any = None
    #: Raised by `get` when the time is up.
    TimeoutError = TimeoutError
    id: str = None  # type: ignore[assignment]
    backend: Any = None

    _cache: Meta | None = None
    _ignored = False
    _on_ready: Any = None

    def __init__(
        self,
        id: str,
        backend: Any = None,
        task_name: str | None = None,
        app: Any = None,
        parent: ResultBase | None = None,
    ) -> None:
        if id is None:
            raise ValueError(f"AsyncResult requires valid id, not {type(id)}")
        self.app = app = app_or_default(app or self.app)
        self.id = id
        self.backend = backend or app.backend
        if parent is not None:
            self.parent = parent

    # -- waiting ----------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[Meta], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Any = states.EXCEPTION_STATES,
        PROPAGATE_STATES: Any = states.PROPAGATE_STATES,
    ) -> R:
        """Wait until the task is ready and return its value.

        Parameters:
            timeout: seconds; None waits for ever.
            propagate: raise the exception of a task that failed or was revoked; else return it.
            interval: seconds between two calls of `on_interval`; where the store has to be polled
                also the longest pause.
            no_ack: for results that come as messages: acknowledge them on delivery.
            follow_parents: raise the exception of a parent task that failed.
            callback: called with the id and the value of the task.
            on_message: called with the meta of every state seen while waiting.
            on_interval: called without arguments every `interval` seconds while waiting.
            disable_sync_subtasks: refuse to wait inside a task. The result of the task that a
                callback follows is there, and needs no waiting.

        Raises:
            taskq.exceptions.TimeoutError: not ready after `timeout` seconds.
            RuntimeError: called inside a task.
        """
        if self.ignored:
            return None  # type: ignore[return-value]
        if disable_sync_subtasks and task_join_will_block() and not self._is_followed_here():
            assert_will_not_block()
        if self._cache is not None:
            return self.maybe_throw(propagate=propagate, callback=callback)  # type: ignore[no-any-return]
        if follow_parents and propagate and self.parent is not None:
            on_interval = self._follow_parents(on_interval)
        return self.backend.wait_for_pending(  # type: ignore[no-any-return]
            self,
            timeout=timeout,
            interval=interval,
            on_interval=on_interval,
            no_ack=no_ack,
            propagate=propagate,
            callback=callback,
            on_message=on_message,
        )

    wait = get  # Celery's old name

    def _is_followed_here(self) -> bool:
        """Return whether the running task is a callback of this result's, which has ended."""
        running = get_current_worker_task()
        return running is not None and running.request.parent_id == self.id and self.ready()

    def _follow_parents(self, on_interval: Callable[[], Any] | None) -> Callable[[], Any]:
        """Raise the error of a failed parent; return an `on_interval` that does so as well."""
        self._maybe_reraise_parent_error()

        def check() -> None:
            if on_interval is not None:
                on_interval()
            self._maybe_reraise_parent_error()

        return check

    def _maybe_reraise_parent_error(self) -> None:
        parents = list(self._parents())
        read_together(parents)
        for node in reversed(parents):
            if getattr(node, "_cache", True) is not None:
                node.maybe_throw()

    def _parents(self) -> Iterator[Any]:
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def then(
        self,
        callback: Callable[[AsyncResult[R]], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> Any:
        """Call `callback` with this handle when it is seen that the task is ready.

        It is called by whichever thread sees it: one that waits for this or another result, or
        that asks for the state.

        Parameters:
            callback: called whatever the state, as long as it is a ready one.
            on_error: called when `callback` raises.
            weak: do not keep this handle alive for it.

        Returns:
            A promise.
        """
        if self._cache is None:
            self.backend.add_pending_result(self, weak=weak)
        return self.on_ready.then(callback, on_error)

    @property
    def on_ready(self) -> Any:
        """The promise that is kept when the task is ready."""
        if self._on_ready is None:
            self._on_ready = promise(self._on_fulfilled, weak=True)
            if self._cache is not None:
                self._on_ready(self)
        return self._on_ready

    @on_ready.setter
    def on_ready(self, value: Any) -> None:
        self._on_ready = value

    def _on_fulfilled(self, result: Any) -> Any:
        return result

    def throw(self, *args: Any, **kwargs: Any) -> None:
        """Raise an exception in those who wait by `then`."""
        self.on_ready.throw(*args, **kwargs)

    def maybe_throw(self, propagate: bool = True, callback: Any = None) -> Any:
        """Return the result so far, or raise it if the task failed or was revoked.

        Parameters:
            propagate: raise; else return the exception.
            callback: called with the id and the value.
        """
        meta = self._get_task_meta() if self._cache is None else self._cache
        value = meta["result"]
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            if not isinstance(value, BaseException):
                value = Exception(value)
            # One instance may be raised many times: it must not collect their tracebacks.
            raise value.with_traceback(self._to_remote_traceback(meta.get("traceback")))
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw  # Celery's old name

    def _to_remote_traceback(self, tb: str | None) -> Any:
        if not tb or self.app is None or not self.app.conf.task_remote_tracebacks:
            return None
        try:
            from tblib import Traceback
        except ImportError:
            raise ImproperlyConfigured(
                "task_remote_tracebacks needs the tblib library: pip install taskq[tblib]"
            ) from None
        return Traceback.from_string(tb).as_traceback()

    # -- state --------------------------------------------------------------------

    def _get_task_meta(self) -> Meta:
        if self._cache is None:
            return self._maybe_set_cache(self.backend.get_task_meta(self.id))
        return self._cache

    def _maybe_set_cache(self, meta: Meta) -> Meta:
        """Keep the meta of a task that is ready, and tell those who wait by `then`."""
        if meta and meta["status"] in states.READY_STATES and self._cache is None:
            meta = self._set_cache(meta)
            if self._on_ready is not None:
                self._on_ready(self)
        return meta

    def _set_cache(self, meta: Meta) -> Meta:
        if children := meta.get("children"):
            meta = {**meta, "children": [result_from_tuple(each, self.app) for each in children]}
        self._cache = meta
        return meta

    def _iter_meta(self, **kwargs: Any) -> Iterator[Meta]:
        return iter([self._get_task_meta()])

    def ready(self) -> bool:
        """Tell whether the task has succeeded, failed or been revoked."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Tell whether the task has succeeded."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Tell whether the task has failed."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Tell whether the backend knows the task: it cannot tell a waiting one from none."""
        return self.backend.task_result_exists(self.id)  # type: ignore[no-any-return]

    @property
    def state(self) -> str:
        """State of the task: PENDING, STARTED, RETRY, FAILURE, SUCCESS, REVOKED or one's own.

        PENDING is also the state of a task that the backend knows nothing of.
        """
        return self._get_task_meta()["status"]  # type: ignore[no-any-return]

    @property
    def status(self) -> str:
        """Another name of `state`."""
        return self.state

    @property
    def result(self) -> Any:
        """Return value of the task, its exception, or the data of its present state."""
        return self._get_task_meta()["result"]

    @property
    def info(self) -> Any:
        """Another name of `result`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """Traceback of a failed task, as text."""
        return self._get_task_meta().get("traceback")

    @property
    def children(self) -> list[Any] | None:
        """Handles of the tasks that the task called; None while it is not ready."""
        return self._get_task_meta().get("children")

    @property
    def name(self) -> str | None:
        """Name of the task (with `result_extended`)."""
        return self._get_task_meta().get("name")

    @property
    def args(self) -> Any:
        """Positional arguments of the task (with `result_extended`)."""
        return self._get_task_meta().get("args")

    @property
    def kwargs(self) -> Any:
        """Keyword arguments of the task (with `result_extended`)."""
        return self._get_task_meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        """Name of the worker that ran the task (with `result_extended`)."""
        return self._get_task_meta().get("worker")

    @property
    def retries(self) -> int | None:
        """How often the task was retried (with `result_extended`)."""
        return self._get_task_meta().get("retries")

    @property
    def queue(self) -> str | None:
        """Routing key that the task came with (with `result_extended`)."""
        return self._get_task_meta().get("queue")

    @property
    def date_done(self) -> datetime | None:
        """When the task became ready."""
        value = self._get_task_meta().get("date_done")
        return datetime.fromisoformat(value) if isinstance(value, str) else value

    @property
    def ignored(self) -> bool:
        """The task's result is ignored, so `get` returns None without waiting."""
        return self._ignored

    @ignored.setter
    def ignored(self, value: bool) -> None:
        self._ignored = value

    @property
    def task_id(self) -> str:
        """Another name of `id`."""
        return self.id

    @task_id.setter
    def task_id(self, value: str) -> None:
        self.id = value

    @property
    def supports_native_join(self) -> bool:
        """The backend can wait for many tasks at once."""
        return self.backend.supports_native_join  # type: ignore[no-any-return]

    # -- removing and revoking ------------------------------------------------------

    def forget(self) -> None:
        """Remove the result of this task, and of its parents, from the backend."""
        for node in [self, *self._parents()]:
            if isinstance(node, AsyncResult):
                node._forget_one()
            else:
                node.forget()

    def _forget_one(self) -> None:
        self._cache = None
        self._on_ready = None
        self.backend.remove_pending_result(self)
        self.backend.forget(self.id)

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Ask all workers to drop the task when it comes to them.

        Parameters:
            connection: broker connection to use.
            terminate: also end a process that runs it.
            signal: the signal to end it with, for example ``"KILL"``.
            wait: wait for the workers' replies and return them.
            timeout: seconds to wait for replies.
        """
        return self.app.control.revoke(
            self.id,
            connection=connection,
            terminate=terminate,
            signal=signal,
            reply=wait,
            timeout=timeout,
        )

    def revoke_by_stamped_headers(
        self,
        headers: dict[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Ask all workers to drop tasks with these stamps; see `revoke`.

        Parameters:
            headers: names of stamps with a value or values each.
        """
        return self.app.control.revoke_by_stamped_headers(
            headers,
            connection=connection,
            terminate=terminate,
            signal=signal,
            reply=wait,
            timeout=timeout,
        )

    # -- the tree of tasks ------------------------------------------------------------

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield ``(parent, handle)`` of this task and all it led to, breadth first.

        Parameters:
            intermediate: skip what tasks that are not ready may yet call.

        Raises:
            IncompleteStream: one is not ready and `intermediate` is false.
        """
        queue: deque[tuple[Any, Any]] = deque([(None, self)])
        while queue:
            parent, node = queue.popleft()
            yield parent, node
            if node.ready():
                queue.extend((node, child) for child in node.children or [])
            elif not intermediate:
                raise IncompleteStream()

    def collect(self, intermediate: bool = False, **kwargs: Any) -> Iterator[tuple[Any, Any]]:
        """Yield ``(handle, value)`` of this task and all it led to, waiting for each.

        Parameters:
            intermediate: see `iterdeps`.
            kwargs: given to `get`.
        """
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """Wait for this task and all it led to; return the value of the last."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    @property
    def graph(self) -> DependencyGraph:
        """Graph of this task and all it led to."""
        graph: DependencyGraph | None = self.__dict__.get("_graph")
        if graph is None:
            graph = self.__dict__["_graph"] = self.build_graph()
        return graph

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph:
        """Return the graph of this task and all it led to.

        Parameters:
            intermediate: see `iterdeps`.
            formatter: a GraphFormatter, for drawing it.
        """
        from taskq.utils.graph import DependencyGraph, GraphFormatter

        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id, shape="oval"))
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    # -- the handle as data -------------------------------------------------------------

    def as_tuple(self) -> tuple[Any, None]:
        """Return the handle and its parents as nested tuples."""
        parent = None
        for node in reversed(list(self._parents())):
            # Not recursive: the last step of a long chain has a parent for each step before it.
            if not isinstance(node, AsyncResult):
                parent = node.as_tuple()
            else:
                parent = (node.id, parent), None
        return (self.id, parent), None

    def as_list(self) -> list[str]:
        """Return the id of the task, then those of its parents."""
        return [self.id, *(node.id for node in self._parents())]

    def __reduce__(self) -> Any:
        return self.__class__, self.__reduce_args__()

    def __reduce_args__(self) -> tuple[Any, ...]:
        return self.id, self.backend, None, None, self.parent

    def __copy__(self) -> AsyncResult[R]:
        return self.__class__(self.id, self.backend, None, self.app, self.parent)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"


Thenable.register(AsyncResult)


def read_together(nodes: list[Any]) -> None:
    """Read the states of those of the handles that are not known to be ready, at once."""
    unknown = [node for node in nodes if isinstance(node, AsyncResult) and node._cache is None]
    if not unknown:
        return
    by_id: dict[str, list[AsyncResult[Any]]] = {}
    for node in unknown:
        by_id.setdefault(node.id, []).append(node)
    for meta in unknown[0].backend.read_metas(list(by_id)):
        for node in by_id.get(meta["task_id"], ()):
            node._maybe_set_cache(meta)
