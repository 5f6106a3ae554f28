"""A stored state that can't be decoded: whoever waits for it gets the error, and nobody else does.

Made by the `ResultSource`s, which read for many who wait; raised again where one of them is served.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq import states

__all__ = ("decoded", "error_of", "unreadable")

#: Key of the error in a meta that stands for one that can't be read.
ERROR = "unreadable"


def decoded(task_id: str, decode: Callable[[Any], dict[str, Any]], value: Any) -> dict[str, Any]:
    """Return the meta that `decode` makes of a stored value, or one that stands for its error."""
    try:
        meta = decode(value)
    except Exception as exc:
        return unreadable(task_id, exc)
    meta.setdefault("task_id", task_id)
    return meta


def unreadable(task_id: str, error: Exception) -> dict[str, Any]:
    """Return a meta that ends the waiting for a task with an error."""
    return {"task_id": task_id, "status": states.FAILURE, "result": None, ERROR: error}


def error_of(meta: dict[str, Any]) -> Exception | None:
    """Return why a meta can't be read; None when it can."""
    return meta.get(ERROR)
