"""Finds the app that ``-A`` names: a module, an attribute of one, or a package that holds one.

Used by the command line and by the loaders' users through ``taskq.app.utils``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from taskq.utils.imports import import_from_cwd, symbol_by_name

#: Attributes of a module that may be its app, in the order in which they are tried.
_ATTRIBUTES = ("app", "taskq", "celery")
#: Submodules of a package in which its app may be, in order.
_SUBMODULES = ("taskq", "celery")
#: Path of the app class: the room of this module is below the class's own imports.
_APP_CLASS = "taskq.app.base:TaskQ"


def find_app(
    app: Any,
    symbol_by_name: Callable[..., Any] = symbol_by_name,
    imp: Callable[..., Any] = import_from_cwd,
) -> Any:
    """Return the app that *app* names.

    ``module:attribute`` and ``module.attribute`` name it directly. For a module, its ``app``,
    ``taskq`` or ``celery`` is taken; for a package also what its ``taskq`` or ``celery``
    submodule holds; at last any app among the names of the module.

    Parameters:
        app: dotted name, or an app, which is returned as it is.
        symbol_by_name: resolves a name to an object.
        imp: imports a module by name, looking in the current directory too.

    Raises:
        ImportError: the module cannot be imported; also for a submodule that may hold the app.
        AttributeError: the module holds no app, or no attribute of that name.
    """
    try:
        found = symbol_by_name(app, imp=imp)
    except AttributeError:
        # The last part is no attribute: it may be a submodule.
        found = imp(app)
    if not isinstance(found, ModuleType) or ":" in str(app):
        return found
    return _app_of_module(found, symbol_by_name, imp)


def _app_of_module(
    module: ModuleType, symbol_by_name: Callable[..., Any], imp: Callable[..., Any]
) -> Any:
    for name in _ATTRIBUTES:
        candidate = getattr(module, name, None)
        if candidate is not None and not isinstance(candidate, ModuleType):
            return candidate
    broken: ImportError | None = None
    if hasattr(module, "__path__"):
        for name in _SUBMODULES:
            try:
                return find_app(f"{module.__name__}.{name}", symbol_by_name, imp)
            except ImportError as exc:
                if exc.name != f"{module.__name__}.{name}":
                    broken = broken or exc
            except _NoApp:
                continue
    app_class = symbol_by_name(_APP_CLASS)
    for candidate in list(vars(module).values()):
        if isinstance(candidate, app_class):
            return candidate
    if broken is not None:
        raise broken
    raise _NoApp(module)


class _NoApp(AttributeError):
    """A module was imported and holds no app."""

    def __init__(self, module: ModuleType) -> None:
        name = module.__name__
        places = ", ".join(f"{name}.{attribute}" for attribute in _ATTRIBUTES)
        super().__init__(
            f"module {name!r} holds no app: there is none at {places} or under another name in it; "
            f"name the app itself, as in {name}:my_app"
        )
