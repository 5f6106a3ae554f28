"""Warnings for what is deprecated.

Used as decorators on functions and properties.
"""

from __future__ import annotations

import warnings
from functools import wraps
from typing import TYPE_CHECKING, Any

from taskq.exceptions import CDeprecationWarning, CPendingDeprecationWarning

if TYPE_CHECKING:
    import collections.abc

__all__ = ("Callable", "Property", "warn")

PENDING_DEPRECATION_FMT = (
    "{description} is scheduled for deprecation in version {deprecation} and removal in version "
    "v{removal}. {alternative}"
)
DEPRECATION_FMT = (
    "{description} is deprecated and scheduled for removal in version {removal}. {alternative}"
)


def warn(
    description: str | None = None,
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    stacklevel: int = 2,
) -> None:
    """Warn that something is deprecated, or will be.

    Parameters:
        description: what.
        deprecation: version in which it will be; None if it is already.
        removal: version in which it will be gone.
        alternative: what to use in its place.
        stacklevel: whose line the warning shows, as in :func:`warnings.warn`.
    """
    template = PENDING_DEPRECATION_FMT if deprecation is not None else DEPRECATION_FMT
    category = CPendingDeprecationWarning if deprecation is not None else CDeprecationWarning
    message = template.format(
        description=description,
        deprecation=deprecation,
        removal=removal,
        alternative=alternative or "",
    )
    warnings.warn(category(message.rstrip()), stacklevel=stacklevel + 1)


def Callable(
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> collections.abc.Callable[..., Any]:
    """Return a decorator for a function that warns when it is called; see :func:`warn`."""

    def decorate(fun: Any) -> Any:
        @wraps(fun)
        def deprecated(*args: Any, **kwargs: Any) -> Any:
            name = description or f"{fun.__module__}.{fun.__qualname__}"
            warn(name, deprecation, removal, alternative, stacklevel=2)
            return fun(*args, **kwargs)

        return deprecated

    return decorate


def Property(
    deprecation: str | None = None,
    removal: str | None = None,
    alternative: str | None = None,
    description: str | None = None,
) -> collections.abc.Callable[..., Any]:
    """Return a decorator for a property that warns when it is used; see :func:`warn`."""

    def decorate(fun: Any) -> _deprecated_property:
        return _deprecated_property(
            fun,
            deprecation=deprecation,
            removal=removal,
            alternative=alternative,
            description=description or fun.__name__,
        )

    return decorate


class _deprecated_property:
    def __init__(
        self, fget: Any = None, fset: Any = None, fdel: Any = None, doc: Any = None, **info: Any
    ) -> None:
        self.__get = fget
        self.__set = fset
        self.__del = fdel
        self.__doc__ = doc or getattr(fget, "__doc__", None)
        self.deprecation_info = info

    def __get__(self, obj: Any, type: type | None = None) -> Any:
        if obj is None:
            return self
        warn(**self.deprecation_info)
        return self.__get(obj)

    def __set__(self, obj: Any, value: Any) -> None:
        if self.__set is None:
            raise AttributeError("cannot set attribute")
        warn(**self.deprecation_info)
        self.__set(obj, value)

    def __delete__(self, obj: Any) -> None:
        if self.__del is None:
            raise AttributeError("cannot delete attribute")
        warn(**self.deprecation_info)
        self.__del(obj)

    def setter(self, fset: Any) -> _deprecated_property:
        """Return a copy with a setter."""
        return self.__class__(self.__get, fset, self.__del, **self.deprecation_info)

    def deleter(self, fdel: Any) -> _deprecated_property:
        """Return a copy with a deleter."""
        return self.__class__(self.__get, self.__set, fdel, **self.deprecation_info)
