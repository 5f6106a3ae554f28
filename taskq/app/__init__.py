"""The app and what it is made of.

`default_app` and friends are for code that has no app of its own at hand.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskq import _state
from taskq._state import (
    app_or_default,
    disable_trace,
    enable_trace,
)
from taskq.local import Proxy

if TYPE_CHECKING:
    from taskq.app.base import Celery, TaskQ
    from taskq.app.definitions import shared_task
    from taskq.app.utils import AppPickler

__all__ = (
    "AppPickler",
    "Celery",
    "TaskQ",
    "app_or_default",
    "bugreport",
    "default_app",
    "disable_trace",
    "enable_trace",
    "pop_current_task",
    "push_current_task",
    "shared_task",
)

push_current_task = _state._task_stack.push
pop_current_task = _state._task_stack.pop

#: The app used when no other is current.
default_app: Any = Proxy(lambda: _state.default_app)

#: Names loaded on first use, as the modules of this package import each other's.
_LAZY = {
    "AppPickler": "taskq.app.utils",
    "Celery": "taskq.app.base",
    "TaskQ": "taskq.app.base",
    "shared_task": "taskq.app.definitions",
}


def bugreport(app: Any = None) -> str:
    """Return text about an app, the current one by default, for a bug report."""
    return str((app or _state.get_current_app()).bugreport())


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as exc:
            if exc.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value
