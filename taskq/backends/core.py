"""What every result backend does whatever the store: settings, retries, reading and writing metas.

`taskq.backends.base.Backend` adds task states, chords and waiting to it.
"""

from __future__ import annotations

import os
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from kombu.utils.encoding import ensure_bytes
from kombu.utils.functional import LRUCache
from kombu.utils.url import maybe_sanitize_url

from taskq import states
from taskq._state import get_current_app, get_current_task
from taskq.backends.codec import ResultCodec
from taskq.backends.handles import MAX_STORED_PARENTS, result_from_tuple, to_stored_tuple
from taskq.backends.waiting import Meta, Waiter
from taskq.exceptions import (
    BackendGetMetaError,
    BackendStoreError,
    ImproperlyConfigured,
    TimeoutError,
)
from taskq.utils.saferepr import is_repr_of
from taskq.utils.time import get_exponential_backoff_interval

__all__ = ("BackendCore", "Meta", "is_result_ignored", "unpickle_backend")

W_FAILURE_EXPIRES_UNSUPPORTED = """\
The {0} result backend does not support result_failure_expires, so failed
results expire like any other result.
"""
W_EAGER = (
    "Results are not stored in backend and should not be retrieved when "
    "task_always_eager is enabled, unless task_store_eager_result is enabled."
)

#: Backends alive in this process; each is told in a forked child that it is one.
_alive: weakref.WeakSet[BackendCore] = weakref.WeakSet()


def _tell_backends_of_fork() -> None:
    for backend in list(_alive):
        backend._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_backends_of_fork)


def unpickle_backend(cls: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> Any:
    """Return the backend that was pickled, bound to the current app."""
    return cls(*args, app=get_current_app(), **kwargs)


def is_result_ignored(request: Any) -> bool:
    """Tell whether the result of the task with this request is not to be stored."""
    return bool(getattr(request, "ignore_result", False))


def _shown(request: Any, name: str, levels: int) -> Any:
    """Return a request's ``args`` or ``kwargs``, or what its call had shown in place of them."""
    value = getattr(request, name, None)
    text = getattr(request, f"{name}repr", None)
    return text if text and not is_repr_of(text, value, levels) else value


class _nulldict(dict[Any, Any]):
    """A cache that keeps nothing (`result_cache_max` is -1)."""

    def ignore(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing."""

    __setitem__ = ignore
    update = ignore

    def setdefault(self, *args: Any, **kwargs: Any) -> None:
        """Keep nothing."""


class BackendCore(ResultCodec):
    """Reads and writes task metas and groups through the hooks a store implements.

    A store implements `_store_result`, `_get_task_meta_for` and `_forget`, and for groups
    `_save_group`, `_restore_group` and `_delete_group`.
    """

    READY_STATES = states.READY_STATES
    UNREADY_STATES = states.UNREADY_STATES

    TimeoutError = TimeoutError

    #: Longest pause in seconds between two reads while polling; None for the default.
    subpolling_interval: float | None = None
    #: ``ResultSet.get`` may wait for all its tasks at once.
    supports_native_join: bool = False
    #: The store itself removes expired results; `cleanup` has nothing to do.
    supports_autoexpire: bool = False
    #: `result_failure_expires` takes effect.
    supports_failure_expires: bool = False
    #: Parents of a child that are stored with it.
    most_stored_parents: int = MAX_STORED_PARENTS
    #: Results survive a restart of the store.
    persistent: bool = True

    _waiter: Waiter | None = None

    retry_policy: dict[str, Any] = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }

    def __init__(
        self,
        app: Any,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: float | timedelta | None = None,
        expires_type: Callable[[float], Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Set up from the app's settings; arguments given here win.

        Parameters:
            app: the app the results belong to.
            serializer: name of the serializer of results (`result_serializer`).
            max_cached_results: how many metas to keep in memory (`result_cache_max`).
            accept: content types to read (`result_accept_content`).
            expires: seconds or timedelta that results are kept (`result_expires`).
            expires_type: makes the number of seconds what the store wants.
            url: where the store is.
        """
        self.app = app
        self._init_codec(serializer, accept)
        conf = app.conf
        limit = max_cached_results or conf.result_cache_max
        self._cache: Any = _nulldict() if limit == -1 else LRUCache(limit=limit or None)
        self.expires = self.prepare_expires(expires, expires_type)
        if conf.result_failure_expires is not None and not self.supports_failure_expires:
            name = type(self).__name__
            warnings.warn(W_FAILURE_EXPIRES_UNSUPPORTED.format(name), stacklevel=2)
        self.always_retry = conf.result_backend_always_retry
        self.max_sleep_between_retries_ms = conf.result_backend_max_sleep_between_retries_ms
        self.base_sleep_between_retries_ms = conf.result_backend_base_sleep_between_retries_ms
        self.max_retries = self.max_write_retries = conf.result_backend_max_retries
        self.thread_safe = bool(conf.get("result_backend_thread_safe", True))
        self.url = url
        _alive.add(self)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return unpickle_backend, (type(self), args, kwargs or {})

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL of the store, with the password masked unless asked for."""
        url = self.url or ""
        if include_password:
            return url
        masked: str = maybe_sanitize_url(url)
        return masked[:-1] if masked.endswith(":///") else masked

    # -- settings -------------------------------------------------------------

    def prepare_expires(
        self, value: float | timedelta | None, type: Callable[[float], Any] | None = None
    ) -> Any:
        """Return `value` (`result_expires` when None) in seconds, converted by `type`."""
        if value is None:
            value = self.app.conf.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type is not None else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Return whether results are to survive a restart of the store (`result_persistent`)."""
        if enabled is not None:
            return enabled
        configured = self.app.conf.result_persistent
        return self.persistent if configured is None else bool(configured)

    # -- retries ----------------------------------------------------------------

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Tell whether the call that raised `exc` may be made again; stores override this."""
        return False

    def on_backend_retryable_error(self, exc: BaseException) -> None:
        """Called before a call is made again, for example to drop a broken connection."""

    def _ensure_retryable(
        self,
        func: Callable[..., Any],
        *args: Any,
        fallback_exc: Callable[..., Exception] | None = None,
        fallback_msg: str | None = None,
        max_retries: float | None = None,
        **kwargs: Any,
    ) -> Any:
        """Call `func`, again while the store is away if `result_backend_always_retry` is set.

        Parameters:
            func: called with `args` and `kwargs`.
            fallback_exc: made with `fallback_msg` and raised when retries run out; None raises
                what `func` raised.
            fallback_msg: its message.
            max_retries: how often to call again (`result_backend_max_retries` when None).
        """
        limit = self.max_retries if max_retries is None else max_retries
        retries = 0
        while True:
            try:
                return func(*args, **kwargs)
            except Exception as exc:
                if not (self.always_retry and self.exception_safe_to_retry(exc)):
                    raise
                if retries >= limit:
                    if fallback_exc is None:
                        raise
                    raise fallback_exc(fallback_msg) from exc
                self.on_backend_retryable_error(exc)
                pause = get_exponential_backoff_interval(
                    self.base_sleep_between_retries_ms,
                    retries,
                    self.max_sleep_between_retries_ms,
                    True,
                )
                retries += 1
                self._sleep(pause / 1000)

    def _sleep(self, amount: float) -> None:
        """Sleep for `amount` seconds."""
        time.sleep(amount)

    # -- writing ----------------------------------------------------------------

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store the state and result of a task; returns the result as it was stored.

        Parameters:
            task_id: the task.
            result: return value, exception or progress data.
            state: its state.
            traceback: text, for failures.
            request: the task's request, for group, parent and extended attributes.

        Raises:
            BackendStoreError: the store stayed away for all of `result_backend_max_retries`.
        """
        encoded = self.encode_result(result, state)
        self._ensure_retryable(
            self._store_result,
            task_id,
            encoded,
            state,
            traceback,
            fallback_exc=lambda msg: BackendStoreError(msg, task_id=task_id, state=state),
            fallback_msg="failed to store result on the backend",
            max_retries=self.max_write_retries,
            request=request,
            **kwargs,
        )
        return encoded

    def store_ahead(self, task_id: str, result: Any, request: Any = None) -> bool:
        """Send a SUCCESS to the store without awaiting the answer, as `taskq.backends.ahead` says.

        Returns False, with nothing sent, from stores that can't.
        """
        return False

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must implement _store_result()")

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> Meta:
        """Return the meta to store, all but its task id.

        Parameters:
            result: as `encode_result` returned it.
            state: state of the task.
            traceback: text or None.
            request: the task's request or None.
            format_date: give the date as text rather than as a datetime.
            encode: serialize arguments by themselves, for stores with a column for each.
        """
        date_done: Any = None
        if state in self.READY_STATES:
            date_done = self.app.now()
            if format_date:
                date_done = date_done.isoformat()
        meta: Meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": date_done,
        }
        if request is None:
            return meta
        if group_id := getattr(request, "group", None):
            meta["group_id"] = group_id
        if parent_id := getattr(request, "parent_id", None):
            meta["parent_id"] = parent_id
        if self.app.conf.result_extended:
            meta.update(self._extended_meta(request, encode=encode))
        return meta

    def _extended_meta(self, request: Any, *, encode: bool) -> Meta:
        """Return what `result_extended` adds to a meta: the call and who ran it."""
        levels = self.app.conf.task_repr_maxlevels
        args, kwargs = _shown(request, "args", levels), _shown(request, "kwargs", levels)
        if encode:
            args, kwargs = ensure_bytes(self.encode(args)), ensure_bytes(self.encode(kwargs))
        delivery_info = getattr(request, "delivery_info", None) or {}
        extended: Meta = {
            "name": getattr(request, "task", None),
            "args": args,
            "kwargs": kwargs,
            "worker": getattr(request, "hostname", None),
            "retries": getattr(request, "retries", None),
            "queue": delivery_info.get("routing_key"),
        }
        stamps = getattr(request, "stamps", None)
        stamped_headers = getattr(request, "stamped_headers", None)
        if stamped_headers and stamps is not None:
            extended["stamped_headers"] = stamped_headers
            extended.update(stamps)
        return extended

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """Return the tasks that the task with this request has called, as tuples."""
        request = request or getattr(get_current_task(), "request", None)
        if request is None:
            return None
        children = getattr(request, "children", None) or []
        return [to_stored_tuple(child, self.most_stored_parents) for child in children]

    def forget(self, task_id: str) -> None:
        """Remove the result of a task."""
        self._cache.pop(task_id, None)
        self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError(f"The {type(self).__name__} result backend cannot forget results")

    # -- reading ----------------------------------------------------------------

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """Return the meta of a task; that of an unknown task says PENDING.

        Parameters:
            task_id: the task.
            cache: a result seen before may be returned.

        Raises:
            BackendGetMetaError: the store stayed away for all of `result_backend_max_retries`.
        """
        self._ensure_not_eager()
        if cache and (cached := self._cache.get(task_id)) is not None:
            return cached  # type: ignore[no-any-return]
        meta: Meta = self._ensure_retryable(
            self._get_task_meta_for,
            task_id,
            fallback_exc=lambda msg: BackendGetMetaError(msg, task_id=task_id),
            fallback_msg="failed to get meta",
        )
        self._remember(task_id, meta, cache=cache)
        return meta

    def _remember(self, task_id: str, meta: Meta, *, cache: bool = True) -> None:
        if cache and meta.get("status") == states.SUCCESS:
            self._cache[task_id] = meta

    def _get_task_meta_for(self, task_id: str) -> Meta:
        raise NotImplementedError(f"{type(self).__name__} must implement _get_task_meta_for()")

    def read_metas(self, task_ids: Sequence[str]) -> Iterator[Meta]:
        """Yield the metas of those of the tasks that are stored, for waiting.

        Stores that can read many at once override this.
        """
        for task_id in task_ids:
            meta = self.get_task_meta(task_id, cache=False)
            if meta["status"] != states.PENDING:
                meta.setdefault("task_id", task_id)
                yield meta

    def get_state(self, task_id: str) -> str:
        """Return the state of a task."""
        return self.get_task_meta(task_id)["status"]  # type: ignore[no-any-return]

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """Return the result of a task: its return value, exception or progress data."""
        return self.get_task_meta(task_id).get("result")

    def get_traceback(self, task_id: str) -> str | None:
        """Return the traceback of a failed task, as text."""
        return self.get_task_meta(task_id).get("traceback")

    def get_children(self, task_id: str) -> list[Any] | None:
        """Return the tasks that a task called, as tuples; None if it is not known."""
        return self.get_task_meta(task_id).get("children")

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task, whatever its state."""
        return bool(self._get_task_meta_for(task_id)["status"] != states.PENDING)

    def reload_task_result(self, task_id: str) -> None:
        """Read the meta of a task anew into the cache."""
        self._cache[task_id] = self.get_task_meta(task_id, cache=False)

    def is_cached(self, task_id: str) -> bool:
        """Tell whether the meta of a task is in the cache."""
        return task_id in self._cache

    def _ensure_not_eager(self) -> None:
        conf = self.app.conf
        if conf.task_always_eager and not conf.task_store_eager_result:
            warnings.warn(W_EAGER, RuntimeWarning, stacklevel=3)

    # -- groups -----------------------------------------------------------------

    def save_group(self, group_id: str, result: Any) -> Any:
        """Store the handle of a group under its id."""
        return self._save_group(group_id, result)

    def _save_group(self, group_id: str, result: Any) -> Any:
        raise NotImplementedError(f"The {type(self).__name__} result backend cannot save groups")

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """Return the handle of a saved group, None if there is none of this id."""
        meta = self.get_group_meta(group_id, cache=cache)
        return meta["result"] if meta else None

    def get_group_meta(self, group_id: str, cache: bool = True) -> Meta | None:
        """Return ``{"result": handle}`` of a saved group, None if there is none of this id."""
        self._ensure_not_eager()
        if cache and (cached := self._cache.get(group_id)) is not None:
            return cached  # type: ignore[no-any-return]
        meta = self._restore_group(group_id)
        if cache and meta is not None:
            self._cache[group_id] = meta
        return meta

    def _restore_group(self, group_id: str) -> Meta | None:
        raise NotImplementedError(f"The {type(self).__name__} result backend cannot restore groups")

    def reload_group_result(self, group_id: str) -> None:
        """Read the handle of a group anew into the cache."""
        self._cache[group_id] = self.get_group_meta(group_id, cache=False)

    def delete_group(self, group_id: str) -> Any:
        """Remove a saved group."""
        self._cache.pop(group_id, None)
        return self._delete_group(group_id)

    def _delete_group(self, group_id: str) -> Any:
        raise NotImplementedError(f"The {type(self).__name__} result backend cannot delete groups")

    def _group_from_tuple(self, value: Any) -> Any:
        """Return the handle stored as nested tuples."""
        return result_from_tuple(value, self.app)

    # -- life -------------------------------------------------------------------

    def on_task_call(self, producer: Any, task_id: str) -> dict[str, Any]:
        """Called before a task is published; returns extra options for the message."""
        return {}

    def process_cleanup(self) -> None:
        """Called by a worker process after each task and at its end."""

    def cleanup(self) -> None:
        """Remove expired results, for stores that do not do it by themselves."""

    def _after_fork(self) -> None:
        """Called in a forked child: drop the parent's connections without talking on them."""
        self.__dict__.pop("awaited_by_loop", None)
        if self._waiter is not None:
            self._waiter.after_fork()

    # -- chords: replaced in `taskq.backends.chords` ----------------------------

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Called when a task of a chord's header is done."""

    def _missing_library(self, library: str, extra: str) -> ImproperlyConfigured:
        """Return the error to raise when the store's client library is not installed."""
        return ImproperlyConfigured(
            f"The {type(self).__name__} result backend needs the {library} library: "
            f"pip install taskq[{extra}]"
        )
