"""The base class of result handles, so that backends know one when they see it.

`taskq.result` builds the handles; backends make them again from tuples through `result_from_tuple`.
"""

from __future__ import annotations

from typing import Any

from kombu.utils.imports import symbol_by_name

__all__ = ("ResultBase", "result_from_tuple")


class ResultBase:
    """Base class of all result handles."""

    #: Handle of the task that this one was called from, or of the step before it in a chain.
    parent: Any = None

    __slots__ = ()

    def as_tuple(self) -> Any:
        """Return the handle as nested tuples that any serializer can carry."""
        raise NotImplementedError(f"{type(self).__name__} must implement as_tuple()")


def result_from_tuple(value: Any, app: Any = None) -> Any:
    """Return the handle that `ResultBase.as_tuple` made `value` of."""
    return symbol_by_name("taskq.result:result_from_tuple")(value, app=app)
