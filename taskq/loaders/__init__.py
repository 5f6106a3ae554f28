"""Loaders: where an app's configuration and its modules come from.

A loader is chosen by name when the app is made; ``app`` is for apps with a configuration of their
own, ``default`` looks for a configuration module.
"""

from __future__ import annotations

from typing import Any

from taskq.utils.imports import import_from_cwd, symbol_by_name

__all__ = ("get_loader_cls",)

LOADER_ALIASES = {
    "app": "taskq.loaders.app:AppLoader",
    "default": "taskq.loaders.default:Loader",
}


def get_loader_cls(loader: Any) -> Any:
    """Return the loader class called ``loader``: an alias, a dotted name, or the class itself."""
    return symbol_by_name(loader, LOADER_ALIASES, imp=import_from_cwd)
