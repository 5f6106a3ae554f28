"""What a dotted name of Celery's is called here, and whether it is there."""

from __future__ import annotations

import re
from importlib import import_module
from types import ModuleType
from typing import Any

CELERY, TASKQ = "celery", "taskq"

_DOTTED = re.compile(r"celery(\.[A-Za-z_]\w*)+(:[A-Za-z_]\w*)?\Z")


def is_ours(name: str) -> bool:
    """Return whether a dotted name is Celery's own: not that of a package around it."""
    return name == CELERY or name.startswith(f"{CELERY}.")


def new_name(name: str) -> str:
    """Return the name here of a name for which `is_ours` holds."""
    return TASKQ + name[len(CELERY) :]


def lacking(module: str, names: list[str]) -> list[str]:
    """Return which of the names can't be imported from a module of ours.

    - module: its name, such as ``taskq.schedules``; names: may be empty, for the module itself.
    """
    found = _module(module)
    if found is None:
        return names or [module]
    return [
        name
        for name in names
        if name != "*" and not hasattr(found, name) and _module(f"{module}.{name}") is None
    ]


def names_a_thing(text: str) -> bool:
    """Return whether text is the dotted name of a class or function of Celery's that is here too.

    Modules are not meant: their names are also those of loggers, which stay as they are. So do the
    names of tasks.
    """
    if not _DOTTED.match(text):
        return False
    path, _, attribute = new_name(text).replace(":", ".").rpartition(".")
    if path == TASKQ:
        return False  # `celery.chain` and the like are tasks, loggers, queues
    owner = _resolve(path)
    found = getattr(owner, attribute, None)
    return found is not None and not isinstance(found, ModuleType)


def _resolve(path: str) -> Any:
    """Return the module or class of that name, None if there is none."""
    module = _module(path)
    if module is not None:
        return module
    parent, _, attribute = path.rpartition(".")
    found = _module(parent) if parent else None
    value = getattr(found, attribute, None)
    return value if isinstance(value, type) else None


def _module(name: str) -> ModuleType | None:
    try:
        return import_module(name)
    except ImportError:
        return None
