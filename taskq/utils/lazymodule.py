"""Module attributes that are imported on first use (PEP 562), so that start-up stays cheap.

Called by vocabulary modules that re-export names of heavier packages such as kombu or billiard.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_attributes(module: str, table: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level ``__getattr__`` that resolves names from ``table``.

    Parameters:
        module: the ``__name__`` of the module that owns the names.
        table: name -> ``"package.module:Name"``, where the object really lives.

    A resolved object is stored in the module, so the second access costs nothing.
    """

    def __getattr__(name: str) -> Any:
        try:
            origin = table[name]
        except KeyError:
            raise AttributeError(f"module {module!r} has no attribute {name!r}") from None
        home, _, attribute = origin.partition(":")
        value = getattr(import_module(home), attribute) if attribute else import_module(home)
        setattr(sys.modules[module], name, value)
        return value

    return __getattr__
