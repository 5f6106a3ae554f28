"""Mappings of `State` from a name to the tasks under it.

They hold no task in memory, and can also be called for the tasks in order of time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakSet

__all__ = ("CallableDefaultdict", "load_index", "prune_index", "save_index")


class CallableDefaultdict(defaultdict[Any, Any]):
    """A defaultdict that is also a function.

    - fun: what is called; other arguments are those of the defaultdict.
    """

    def __init__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.fun = fun
        super().__init__(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.fun(*args, **kwargs)


def save_index(index: Mapping[str, Iterable[Any]]) -> dict[str, list[str]]:
    """Return name -> ids of tasks, which can be pickled."""
    return {name: [task.uuid for task in tasks] for name, tasks in index.items()}


def load_index(
    saved: Mapping[str, Iterable[Any]] | None, tasks: Mapping[str, Any]
) -> dict[str, WeakSet[Any]]:
    """Return name -> tasks from name -> ids; tasks that aren't known are left out."""
    index = {}
    for name, ids in (saved or {}).items():
        uuids = (getattr(item, "uuid", item) for item in ids)
        index[name] = WeakSet(tasks[uuid] for uuid in uuids if uuid in tasks)
    return index


def prune_index(index: dict[Any, Any]) -> None:
    """Forget names without tasks, such as workers of machines long gone."""
    for name in [name for name, tasks in list(index.items()) if not tasks]:
        index.pop(name, None)
