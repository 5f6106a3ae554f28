"""The entries of a scheduler: a dict that knows whether its times changed behind the heap's back.

Used by `Scheduler`, so that a tick need not compare all entries with those of the tick before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ("Entries",)


def _counted(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    @wraps(method)
    def change(self: Entries, *args: Any, **kwargs: Any) -> Any:
        self.version += 1
        return method(self, *args, **kwargs)

    return change


class Entries(dict[str, Any]):
    """Name -> entry. ``version`` grows with every change but `advance`."""

    version = 0

    __setitem__ = _counted("__setitem__")
    __delitem__ = _counted("__delitem__")
    __ior__ = _counted("__ior__")
    clear = _counted("clear")
    pop = _counted("pop")
    popitem = _counted("popitem")
    setdefault = _counted("setdefault")
    update = _counted("update")

    def advance(self, name: str, entry: Any) -> None:
        """Put an entry in the place of itself before it was sent: the heap knows."""
        dict.__setitem__(self, name, entry)
