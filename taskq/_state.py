"""Which app and which task are current, here and now; the room's only global state.

Written by the app and the tracer; read through the ``current_app`` and ``current_task`` proxies.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from contextvars import ContextVar
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from taskq.local import Proxy
from taskq.utils.imports import symbol_by_name
from taskq.utils.threads import LocalStack

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "connect_on_app_finalize",
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "set_default_app",
)

#: The app used when no other is current: chosen with :func:`set_default_app`, or made when needed.
default_app: Any = None

#: Where the fallback app comes from; a name, since this module knows nothing above it.
_APP_CLASS = "taskq.app.base:TaskQ"


class _TLS(threading.local):
    #: The app last made or chosen with ``set_current()`` in this thread.
    current_app: Any = None


_tls = _TLS()
#: The app last made current in any thread: what a thread that chose none is given. Without it a
#: thread would get an unconfigured app, and its tasks would go to a broker nobody meant.
_process_app: Any = None
#: True while ``default_app`` is only the one made for want of another.
_default_is_fallback = False
_fallback_lock = threading.RLock()

_apps: weakref.WeakSet[Any] = weakref.WeakSet()
_on_app_finalizers: set[Callable[[Any], Any]] = set()

#: The tasks that run here, innermost last: per thread, greenlet and asyncio task.
_task_stack: LocalStack[Any] = LocalStack()
push_current_task = _task_stack.push
pop_current_task = _task_stack.pop

_task_join_will_block = False


def set_default_app(app: Any) -> None:
    """Make ``app`` the one used by every thread that has no current app."""
    global default_app, _default_is_fallback
    default_app = app
    _default_is_fallback = False


def _set_current_app(app: Any) -> None:
    global _process_app
    _tls.current_app = app
    if _process_app is None or threading.current_thread() is threading.main_thread():
        _process_app = app


def _get_current_app() -> Any:
    app = _tls.current_app
    if app is not None:
        return app
    if default_app is not None and not _default_is_fallback:
        return default_app
    if _process_app is not None:
        return _process_app
    return _fallback_app()


def _fallback_app() -> Any:
    global _default_is_fallback
    with _fallback_lock:
        if default_app is None:
            loader = os.environ.get("TASKQ_LOADER") or os.environ.get("CELERY_LOADER") or "default"
            app_class = symbol_by_name(_APP_CLASS)
            set_default_app(app_class("default", fixups=[], set_as_current=False, loader=loader))
            _default_is_fallback = True
    return default_app


def get_current_app() -> Any:
    """Return the current app: this thread's, else the default one, else the last one made."""
    return _get_current_app()


def get_current_task() -> Any:
    """Return the task that runs here, or None."""
    return _task_stack.top


def get_current_worker_task() -> Any:
    """Return the outermost task that runs here, which a worker called, or None.

    It differs from :func:`get_current_task` when a task calls another one directly.
    """
    for task in reversed(_task_stack.stack):
        if not task.request.called_directly:
            return task
    return None


#: The current app.
current_app: Any = Proxy(get_current_app)
#: The task that runs here.
current_task: Any = Proxy(get_current_task)


def getappattr(path: list[str]) -> Any:
    """Return the attribute of the current app that ``path``, a list of names, leads to."""
    return attrgetter(".".join(path))(_get_current_app())


# -- finalizing: shared tasks register themselves with every app


def connect_on_app_finalize(callback: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Call ``callback(app)`` whenever an app is finalized; may be used as decorator."""
    _on_app_finalizers.add(callback)
    return callback


def _take_finalizers_of(module: str) -> set[Callable[[Any], Any]]:
    """Forget the callbacks of a module, which is about to run again; return them."""
    found = {
        callback
        for callback in _on_app_finalizers
        if getattr(callback, "__module__", None) == module
    }
    _on_app_finalizers.difference_update(found)
    return found


def _announce_app_finalized(app: Any) -> None:
    for callback in set(_on_app_finalizers):
        callback(app)


def _register_app(app: Any) -> None:
    _apps.add(app)


def _deregister_app(app: Any) -> None:
    _apps.discard(app)


def _get_active_apps() -> weakref.WeakSet[Any]:
    return _apps


# -- guarding against tasks that wait for tasks


def _set_task_join_will_block(blocks: bool) -> None:
    global _task_join_will_block
    _task_join_will_block = blocks


#: What this thread or task says in place of the process: see `taskq.result.guards`.
_join_override: ContextVar[bool | None] = ContextVar("taskq_join_override", default=None)


def task_join_will_block() -> bool:
    """Return True inside a task of a pool where waiting for another task could wait forever."""
    override = _join_override.get()
    return _task_join_will_block if override is None else override


# -- explicit apps: code that must never fall back can be traced


def _app_or_default(app: Any = None) -> Any:
    return _get_current_app() if app is None else app


def _app_or_default_trace(app: Any = None) -> Any:
    if app is not None:
        return app
    current = _tls.current_app
    if current is not None:
        print("-- RETURNING TO CURRENT APP --", file=sys.stderr)
        return current
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("no app was passed and there is no current app in the main thread")
    return default_app


app_or_default: Callable[..., Any]


def enable_trace() -> None:
    """Make :func:`app_or_default` tell when it falls back to the current app."""
    global app_or_default
    app_or_default = _app_or_default_trace


def disable_trace() -> None:
    """Make :func:`app_or_default` return the current app quietly."""
    global app_or_default
    app_or_default = _app_or_default


if os.environ.get("TASKQ_TRACE_APP") or os.environ.get("CELERY_TRACE_APP"):
    enable_trace()
else:
    disable_trace()
