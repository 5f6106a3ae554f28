"""Passes an app to a spawned child: by the name it can be imported under, else by value.

Importing is better: the child then has the tasks that the app's module defines.
"""

from __future__ import annotations

import pickle
import sys
from dataclasses import dataclass
from typing import Any

from kombu.utils.imports import symbol_by_name


@dataclass(frozen=True, slots=True)
class AppReference:
    """How a child gets hold of the app."""

    #: ``package.module:attribute``, or None when no module holds the app.
    name: str | None
    #: The pickled app; None when it has a name.
    pickled: bytes | None

    def resolve(self) -> Any:
        """Import or unpickle the app."""
        if self.name is not None:
            return symbol_by_name(self.name)
        return pickle.loads(self.pickled or b"")


def reference(app: Any) -> AppReference:
    """Return a reference to ``app`` that works in a fresh interpreter."""
    if app is None:
        return AppReference(None, pickle.dumps(None))
    name = importable_name(app)
    return AppReference(name, None if name else pickle.dumps(app))


def importable_name(app: Any) -> str | None:
    """Return ``module:attribute`` of a module-level app, its main module preferred."""
    main = getattr(app, "main", None)
    names = [main] if isinstance(main, str) and main in sys.modules else []
    names += [name for name in list(sys.modules) if name != main and not name.startswith("taskq.")]
    for name in names:
        module = sys.modules.get(name)
        if module is None or not hasattr(module, "__dict__"):
            continue
        for attribute, value in list(vars(module).items()):
            if value is app and not attribute.startswith("_"):
                return f"{name}:{attribute}"
    return None
