"""The base class of result handles, so that backends know one when they see it.

`taskq.result` builds the handles; backends make them again from tuples through `result_from_tuple`.
"""

from __future__ import annotations

from typing import Any

from taskq.utils.imports import symbol_by_name

__all__ = ("MAX_STORED_PARENTS", "ResultBase", "result_from_tuple", "to_stored_tuple")

#: How many parents of a handle are stored: serializers limit how deep data may be nested.
MAX_STORED_PARENTS = 100


class ResultBase:
    """Base class of all result handles."""

    #: Handle of the task that this one was called from, or of the step before it in a chain.
    parent: Any = None

    __slots__ = ()

    def as_tuple(self) -> Any:
        """Return the handle as nested tuples that any serializer can carry."""
        raise NotImplementedError(f"{type(self).__name__} must implement as_tuple()")


def to_stored_tuple(handle: Any, most_parents: int = MAX_STORED_PARENTS) -> Any:
    """Return a handle as nested tuples, without its most distant ancestors if it has many.

    The last step of a chain of a thousand has a thousand parents; no serializer nests that deep.
    """
    parent, left = handle.parent, most_parents
    while parent is not None and left:
        parent, left = parent.parent, left - 1
    if parent is None:
        return handle.as_tuple()
    line = [handle]
    while len(line) <= most_parents:
        line.append(line[-1].parent)
    stored: Any = None
    for node in reversed(line):
        nodes = getattr(node, "results", None)
        members = None if nodes is None else [to_stored_tuple(each, most_parents) for each in nodes]
        stored = (node.id, stored), members
    return stored


def result_from_tuple(value: Any, app: Any = None) -> Any:
    """Return the handle that `ResultBase.as_tuple` made `value` of."""
    return symbol_by_name("taskq.result:result_from_tuple")(value, app=app)
