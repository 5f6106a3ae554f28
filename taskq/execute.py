"""First-generation name of sending by name, for code written for it."""

from __future__ import annotations

from typing import Any

from taskq._state import get_current_app

__all__ = ("send_task",)


def send_task(*args: Any, **kwargs: Any) -> Any:
    """Send a task by name with the current app: see `TaskQ.send_task`."""
    return get_current_app().send_task(*args, **kwargs)
