"""Importing by name: symbols, modules in the current directory, extensions of other packages.

Used by loaders, by every table of aliases, and to name tasks after their module.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module, reload
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import ModuleType

__all__ = (
    "NotAPackage",
    "cwd_in_path",
    "find_module",
    "gen_task_name",
    "import_from_cwd",
    "instantiate",
    "module_file",
    "qualname",
    "reload_from_cwd",
    "symbol_by_name",
)

#: File that is ``__main__`` in a process that was started by import (set by the worker and by
#: multiprocessing's spawn), so that tasks in ``__main__`` keep their name; else None.
MP_MAIN_FILE: str | None = os.environ.get("MP_MAIN_FILE")


class NotAPackage(Exception):
    """A module was looked for inside of another one that is not a package."""


def qualname(obj: Any) -> str:
    """Return the dotted name of ``obj``, or of its class if it is an instance."""
    if not hasattr(obj, "__name__") and hasattr(obj, "__class__"):
        obj = obj.__class__
    name = getattr(obj, "__qualname__", obj.__name__)
    module = getattr(obj, "__module__", None)
    return f"{module}.{name}" if module else str(name)


get_full_cls_name = qualname


def symbol_by_name(
    name: Any,
    aliases: Mapping[str, Any] | None = None,
    imp: Callable[..., Any] | None = None,
    package: str | None = None,
    sep: str = ".",
    default: Any = None,
    **kwargs: Any,
) -> Any:
    """Import ``name`` (``"package.module:Name"`` or ``"package.module.Name"``) and return it.

    Parameters:
        name: the name; anything that is not text is returned unchanged.
        aliases: short name -> full name, looked up first.
        imp: imports a module (default: :func:`importlib.import_module`).
        package: what relative names are relative to.
        sep: separates module and symbol if there is no colon.
        default: returned if the import fails; with None the error is raised.
        kwargs: passed on to ``imp``.
    """
    if not isinstance(name, str):
        return name
    if aliases:
        name = aliases.get(name) or name
        if not isinstance(name, str):
            return name
    module_name, _, symbol = name.rpartition(":" if ":" in name else sep)
    if not module_name:
        symbol, module_name = "", package or symbol
    try:
        module = _import(imp or import_module, name, module_name, package, kwargs)
        return getattr(module, symbol) if symbol else module
    except (ImportError, AttributeError):
        if default is None:
            raise
        return default


get_cls_by_name = symbol_by_name


def _import(
    imp: Callable[..., Any], name: str, module: str, package: str | None, kwargs: dict[str, Any]
) -> Any:
    try:
        return imp(module, package=package, **kwargs)
    except ValueError as exc:
        raise ValueError(f"Couldn't import {name!r}: {exc}") from exc


def instantiate(name: Any, *args: Any, **kwargs: Any) -> Any:
    """Import the class ``name`` and call it with the other arguments."""
    return symbol_by_name(name)(*args, **kwargs)


@contextmanager
def cwd_in_path() -> Iterator[None]:
    """Have the current directory first in ``sys.path`` inside the ``with`` block."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:
        cwd = None  # The directory was deleted under us: there is nothing to import from it.
    if cwd is None or cwd in sys.path[:-1]:
        yield
        return
    sys.path.insert(0, cwd)
    try:
        yield
    finally:
        try:
            sys.path.remove(cwd)
        except ValueError:
            pass  # What was imported removed it already.


def find_module(
    module: str, path: Any = None, imp: Callable[..., Any] | None = None
) -> ModuleType | Any:
    """Import ``module`` with the current directory in the path, and return it.

    Raises NotAPackage if a parent of ``module`` is no package, and ImportError if it is not found.
    """
    if imp is None:
        imp = import_module
    with cwd_in_path():
        try:
            return imp(module)
        except ImportError:
            # The interpreter only says that the module is missing; say what is in its way.
            parent = _parent_that_is_no_package(module, imp)
            if parent is not None:
                raise NotAPackage(parent) from None
            raise


def _parent_that_is_no_package(module: str, imp: Callable[..., Any]) -> str | None:
    parts = module.split(".")
    for length in range(1, len(parts)):
        parent = ".".join(parts[:length])
        if not hasattr(imp(parent), "__path__"):
            return parent
    return None


def import_from_cwd(
    module: str, imp: Callable[..., Any] | None = None, package: str | None = None
) -> Any:
    """Import ``module``, looking in the current directory first."""
    if imp is None:
        imp = import_module
    with cwd_in_path():
        return imp(module, package=package)


def reload_from_cwd(module: ModuleType, reloader: Callable[[ModuleType], Any] | None = None) -> Any:
    """Reload ``module`` with the current directory in the path."""
    with cwd_in_path():
        return (reloader or reload)(module)


def module_file(module: ModuleType) -> str:
    """Return the source file of ``module``."""
    name = module.__file__ or ""
    return name[:-1] if name.endswith(".pyc") else name


def gen_task_name(app: Any, name: str, module_name: str | None) -> str:
    """Return the name of a task that has none: ``module.function``.

    Parameters:
        app: the app, whose ``main`` stands for ``__main__``.
        name: the function's name.
        module_name: the module's name.
    """
    module_name = module_name or "__main__"
    module = sys.modules.get(module_name)
    if module is not None and MP_MAIN_FILE and getattr(module, "__file__", None) == MP_MAIN_FILE:
        # This module is run as a script elsewhere, where its tasks are named after __main__.
        module_name = "__main__"
    if module_name == "__main__" and app.main:
        module_name = app.main
    return ".".join(part for part in (module_name, name) if part)


@lru_cache
def _entry_points(namespace: str) -> tuple[Any, ...]:
    # Imported here because it takes longer than the rest of this module's importers together.
    from importlib.metadata import entry_points

    return tuple(entry_points(group=namespace))


def load_extension_class_names(namespace: str) -> Iterable[tuple[str, str]]:
    """Yield ``(name, "package.module:Class")`` for each entry point in group ``namespace``."""
    for entry_point in _entry_points(namespace):
        yield entry_point.name, entry_point.value


def load_extension_classes(namespace: str) -> Iterable[tuple[str, Any]]:
    """Yield ``(name, class)`` for each entry point in ``namespace``; warn of what does not load."""
    for name, class_name in load_extension_class_names(namespace):
        try:
            cls = symbol_by_name(class_name)
        except (ImportError, SyntaxError) as exc:
            warnings.warn(
                f"Cannot load {namespace} extension {class_name!r}: {exc!r}", stacklevel=2
            )
        else:
            yield name, cls
