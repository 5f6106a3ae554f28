"""The task registry: task name -> task instance.

The app owns one; the worker looks up every message's task in it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from taskq._state import get_current_app
from taskq.app.autoretry import add_autoretry_behaviour
from taskq.exceptions import InvalidTaskError, NotRegistered

__all__ = ("TaskRegistry",)


class TaskRegistry(dict[str, Any]):
    """Map of task name to task instance."""

    NotRegistered = NotRegistered

    def __missing__(self, key: str) -> Any:
        raise self.NotRegistered(key)

    def register(self, task: Any) -> None:
        """Add a task instance (a class is instantiated) under its name.

        Raises InvalidTaskError when the task has no name.
        """
        if task.name is None:
            raise InvalidTaskError(
                f"Task class {type(task).__name__!r} must specify .name attribute"
            )
        task = task() if inspect.isclass(task) else task
        add_autoretry_behaviour(task)
        self[task.name] = task

    def unregister(self, name: Any) -> None:
        """Remove a task by name or instance. Raises NotRegistered when it isn't there."""
        key = getattr(name, "name", name)
        try:
            self.pop(key)
        except KeyError:
            raise self.NotRegistered(key) from None

    def regular(self) -> Iterator[tuple[str, Any]]:
        """Yield ``(name, task)`` of the regular tasks."""
        return self.filter_types("regular")

    def periodic(self) -> Iterator[tuple[str, Any]]:
        """Yield ``(name, task)`` of the periodic tasks."""
        return self.filter_types("periodic")

    def filter_types(self, type: str) -> Iterator[tuple[str, Any]]:
        """Yield ``(name, task)`` of the tasks whose ``type`` attribute is the given one."""
        return (
            (name, task) for name, task in self.items() if getattr(task, "type", "regular") == type
        )


def _unpickle_task(name: str) -> Any:
    return get_current_app().tasks[name]


def _unpickle_task_v2(name: str, module: str | None = None) -> Any:
    if module:
        import_module(module)
    return get_current_app().tasks[name]
