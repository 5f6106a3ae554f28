"""Finding the module of tasks that belongs to a package.

Used by ``app.autodiscover_tasks``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def autodiscover_tasks(
    packages: Iterable[str] | None, related_name: str | None = "tasks"
) -> list[Any]:
    """Import the module ``related_name`` of each package.

    Parameters:
        packages: names of packages.
        related_name: the module's name inside the package (None: the packages themselves).

    Returns the modules, with None for packages that have no such module.
    """
    return [find_related_module(package, related_name) for package in packages or ()]


def find_related_module(package: str, related_name: str | None) -> Any:
    """Import ``package.related_name`` and return it, or None if there is no such module.

    ``package`` may also name a class inside of a module, as Django's ``INSTALLED_APPS`` allows. An
    error raised while the module is imported is raised here as well.
    """
    try:
        module = import_module(package)
    except ModuleNotFoundError as exc:
        # 'proj.apps.ProjConfig' is a class: its package is what is left of the last module.
        parent = package.rpartition(".")[0]
        if not parent or exc.name != package:
            raise
        if not related_name:
            return None
        package = parent.rpartition(".")[0] if not _is_package(parent) else parent
        if not package:
            raise
    else:
        if not related_name:
            return module
    name = f"{package}.{related_name}"
    return import_module(name) if _exists(name) else None


def _is_package(name: str) -> bool:
    return hasattr(import_module(name), "__path__")


def _exists(name: str) -> bool:
    """Return True if module ``name`` is there; its parent must be importable."""
    parent = name.rpartition(".")[0]
    if not hasattr(import_module(parent), "__path__"):
        return False
    return find_spec(name) is not None
