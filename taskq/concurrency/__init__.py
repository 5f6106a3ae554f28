"""The pools that run tasks, and the table that finds one by name.

The worker asks :func:`get_implementation` for the class that ``--pool`` names.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kombu.utils.imports import symbol_by_name

if TYPE_CHECKING:
    from taskq.concurrency.base import BasePool

__all__ = ("get_available_pool_names", "get_implementation")

#: Pool name → class. Other names are taken as ``package.module:Class``.
ALIASES: dict[str, str] = {
    "prefork": "taskq.concurrency.prefork:TaskPool",
    "eventlet": "taskq.concurrency.eventlet:TaskPool",
    "gevent": "taskq.concurrency.gevent:TaskPool",
    "solo": "taskq.concurrency.solo:TaskPool",
    "processes": "taskq.concurrency.prefork:TaskPool",
    "threads": "taskq.concurrency.thread:TaskPool",
    "asyncio": "taskq.concurrency.asyncio:TaskPool",
}

#: Environment variables naming the class behind the pool name ``custom``; the first set one wins.
CUSTOM_POOL_VARIABLES = ("TASKQ_CUSTOM_WORKER_POOL", "CELERY_CUSTOM_WORKER_POOL")

custom = next((os.environ[name] for name in CUSTOM_POOL_VARIABLES if os.environ.get(name)), None)
if custom is not None:
    ALIASES["custom"] = custom


def get_implementation(cls: str | type[BasePool] | Any) -> Any:
    """Return the pool class for a pool name, a dotted name or a class.

    Parameters:
        cls: a key of ``ALIASES``, ``"package.module:Class"``, or a class, returned as it is.

    Raises:
        taskq.exceptions.ImproperlyConfigured: the name leads to no class, or to one whose
            library is not installed.
    """
    if not isinstance(cls, str):
        return cls
    try:
        return symbol_by_name(cls, ALIASES)
    except (ImportError, AttributeError, ValueError) as exc:
        # Imported here because only the failing path needs it.
        from taskq.exceptions import ImproperlyConfigured

        known = ", ".join(get_available_pool_names())
        raise ImproperlyConfigured(
            f"The pool {cls!r} can't be loaded ({exc}). Use one of {known}, or the dotted name of"
            f" a pool class as 'package.module:Class'{_custom_hint(cls)}."
        ) from exc


def get_available_pool_names() -> tuple[str, ...]:
    """Return the names that ``--pool`` accepts besides dotted names."""
    return tuple(ALIASES)


def _custom_hint(name: str) -> str:
    if name != "custom":
        return ""
    return f"; 'custom' reads it from the environment variable {CUSTOM_POOL_VARIABLES[0]}"
