"""The ``celery`` alias: packages written for Celery get taskq when they import it.

It is off until somebody asks: with `install`, with ``python -m taskq.compat COMMAND``, or with
``TASKQ_COMPAT=1`` in the environment.
"""

from __future__ import annotations

import sys

from taskq.compat.modules import ALIAS, CeleryFinder, CeleryModule, is_alias, mirror_loaded

__all__ = ("install", "is_installed", "uninstall")

#: Environment variable that makes every process that imports taskq install the alias.
ENVIRONMENT = "TASKQ_COMPAT"

E_REAL_CELERY = (
    "The celery alias can't be installed: the real celery is imported already, from {origin}. "
    "Install the alias before anything that imports celery, in the first lines of the program, or "
    "start it with: python -m taskq.compat COMMAND"
)

_finder = CeleryFinder()


def install() -> None:
    """Make ``import celery`` and its submodules give taskq's modules in this process.

    - ``celery.app.base`` and ``taskq.app.base`` are one module, and so are all others;
      ``celery`` itself is taskq with the version of Celery that it matches.
    - ``importlib.metadata`` knows a distribution ``celery`` of that version, whether or not
      Celery is installed.

    Doing it twice does nothing. Raises ImportError when the real Celery has been imported: two
    halves of a program would use two libraries.
    """
    if is_installed():
        return
    imported = [name for name in sys.modules if name.partition(".")[0] == ALIAS]
    if imported:
        origin = getattr(sys.modules[min(imported)], "__file__", "an unknown place")
        raise ImportError(E_REAL_CELERY.format(origin=origin), name=ALIAS)
    sys.modules[ALIAS] = CeleryModule()
    mirror_loaded()
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo `install`: the next ``import celery`` is the real one's. For tests.

    What was imported from the alias stays with whoever imported it.
    """
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    if is_alias(sys.modules.get(ALIAS)):
        for name in [name for name in sys.modules if name.partition(".")[0] == ALIAS]:
            del sys.modules[name]


def is_installed() -> bool:
    """Whether ``import celery`` gives taskq."""
    return _finder in sys.meta_path and is_alias(sys.modules.get(ALIAS))
