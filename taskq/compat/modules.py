"""Modules of the alias: ``celery``, and what ``import celery.x.y`` finds.

Submodules are taskq's own module objects under a second name in `sys.modules`. The top module is
one of its own, because its version has to be Celery's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import taskq

if TYPE_CHECKING:
    from importlib.metadata import Distribution, DistributionFinder

__all__ = ("ALIAS", "CeleryFinder", "CeleryModule", "is_alias", "mirror_loaded")

ALIAS = "celery"
REAL = "taskq"


def _real_name(alias: str) -> str:
    return REAL + alias.removeprefix(ALIAS)


def mirror_loaded(package: str = REAL) -> None:
    """Give the loaded submodules of a package their second names.

    An import of one that has its name in `sys.modules` does not set it as an attribute of its
    package. There something else may have the name: the class ``chain`` in ``taskq.canvas``, say.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(package + "."):
            sys.modules.setdefault(ALIAS + name.removeprefix(REAL), module)


class CeleryModule(ModuleType):
    """The module ``celery``: taskq's names, and the version of Celery that taskq matches."""

    def __init__(self) -> None:
        super().__init__(ALIAS, taskq.__doc__)
        self.__version__ = taskq.CELERY_COMPAT
        self.__path__ = taskq.__path__
        self.__file__ = taskq.__file__
        self.__package__ = ALIAS
        self.__loader__ = _Loader(ALIAS)
        self.__spec__ = ModuleSpec(ALIAS, _Loader(ALIAS), origin=taskq.__file__, is_package=True)
        self.__spec__.submodule_search_locations = list(taskq.__path__)

    def __getattr__(self, name: str) -> Any:
        if name in {"VERSION", "version_info"}:
            return self._version_info()
        try:
            return getattr(taskq, name)
        except AttributeError:
            raise AttributeError(
                f"module {ALIAS!r}, which is taskq here, has no attribute {name!r}"
            ) from None

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *dir(taskq)})

    def __repr__(self) -> str:
        return f"<module {ALIAS!r} (taskq {taskq.__version__}, from {taskq.__file__!r})>"

    def _version_info(self) -> Any:
        from taskq.version import version_info_t  # brings re along; few ask

        major, minor, micro = map(int, taskq.CELERY_COMPAT.split("."))
        return version_info_t(major, minor, micro, "", "")


def is_alias(module: Any) -> bool:
    """Whether a module is the alias and not the real Celery."""
    return isinstance(module, CeleryModule)


class CeleryFinder(MetaPathFinder):
    """Finds ``celery.x`` where there is a ``taskq.x``, and the distribution ``celery``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load ``celery.x``; None for other names and where there is no taskq.x."""
        if not fullname.startswith(ALIAS + "."):
            return None
        try:
            real = find_spec(_real_name(fullname))
        except ModuleNotFoundError:
            return None
        if real is None:
            return None
        is_package = real.submodule_search_locations is not None
        return ModuleSpec(fullname, _Loader(fullname), origin=real.origin, is_package=is_package)

    def find_distributions(
        self, context: DistributionFinder.Context | None = None
    ) -> Iterable[Distribution]:
        """Return the distribution ``celery`` to whoever asks `importlib.metadata` for it."""
        name = getattr(context, "name", None)
        if name is not None and name.lower() != ALIAS:
            return []
        from taskq.compat.distribution import CeleryDistribution  # brings the email package along

        return [CeleryDistribution()]


class _Loader(InspectLoader):
    """Gives taskq's module of the same name."""

    def __init__(self, fullname: str) -> None:
        self._name = _real_name(fullname)
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import machinery has just written the alias's over it.
        module.__spec__ = self._spec
        mirror_loaded(self._name)

    # -- for `python -m` and `inspect`

    def _real_loader(self) -> InspectLoader:
        spec = find_spec(self._name)
        if spec is None or not isinstance(spec.loader, InspectLoader):
            raise ImportError(f"there is no code of {self._name}", name=self._name)
        return spec.loader

    def get_code(self, fullname: str) -> CodeType | None:
        return self._real_loader().get_code(self._name)

    def get_source(self, fullname: str) -> str | None:
        return self._real_loader().get_source(self._name)

    def is_package(self, fullname: str) -> bool:
        return self._real_loader().is_package(self._name)
