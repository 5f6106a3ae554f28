"""Passes an app to a spawned child: by the name it can be imported under, else by value.

Importing is better: the child then has the tasks that the app's module defines. What was changed in
the settings since, by options of the command line and the like, is passed along.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kombu.utils.imports import symbol_by_name

from taskq.utils.imports import cwd_in_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppReference:
    """How a child gets hold of the app."""

    #: ``package.module:attribute``, or None when no module holds the app.
    name: str | None
    #: The pickled app; None when it has a name.
    pickled: bytes | None
    #: Settings that were changed at run time, pickled, of an app that has a name.
    settings: tuple[tuple[str, bytes], ...] = ()

    def resolve(self) -> Any:
        """Import or unpickle the app, in a process that is in the worker's directory."""
        with cwd_in_path():
            if self.name is None:
                return pickle.loads(self.pickled or b"")
            app = symbol_by_name(self.name)
            app.conf.update({key: pickle.loads(value) for key, value in self.settings})
        return app


def reference(app: Any) -> AppReference:
    """Return a reference to ``app`` that works in a fresh interpreter."""
    if app is None:
        return AppReference(None, pickle.dumps(None))
    name = importable_name(app)
    if name is None:
        return AppReference(None, pickle.dumps(app))
    return AppReference(name, None, tuple(_pickled(app.conf.changes)))


def _pickled(settings: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for key, value in settings.items():
        try:
            yield key, pickle.dumps(value)
        except (pickle.PicklingError, TypeError, AttributeError) as exc:
            # Made by code, which runs in the child too.
            logger.debug("Setting %s is not passed to new processes: %s", key, exc)


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
