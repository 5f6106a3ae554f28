"""Which classes of signatures there are: a table by `subtask_type`, and questions about a kind.

Knows none of the classes, so that each of their modules may ask about the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = (
    "TYPES",
    "AnySignature",
    "is_chain",
    "is_chord",
    "is_empty_group",
    "is_group",
    "maybe_unroll_group",
    "register_simple",
    "register_type",
    "simple_signature",
)

SignatureClass = TypeVar("SignatureClass", bound=type)


class AnySignature(dict[str, Any]):
    """Base of all signatures, by which modules below them recognise one."""

    #: The call of `composing.fold` that may change this signature instead of a copy.
    owner: object | None = None
    #: The app and the task it was made with, if it was.
    _app: Any = None
    _type: Any = None
    #: Method of every signature that returns a copy; see `taskq.canvas.copying`.
    clone: Any


#: Class of the signatures with a given `subtask_type`.
TYPES: dict[str, Any] = {}
#: Class of the signatures that are of no kind: one, once its module is imported.
_simple: list[Any] = []


def register_type(name: str) -> Callable[[SignatureClass], SignatureClass]:
    """Return a decorator that makes a class the one of signatures with this `subtask_type`."""

    def register(cls: SignatureClass) -> SignatureClass:
        TYPES[name] = cls
        return cls

    return register


def register_simple(cls: SignatureClass) -> SignatureClass:
    """Make a class the one of signatures of a single call, which are of no kind; a decorator."""
    _simple.append(cls)
    return cls


def simple_signature() -> Any:
    """Return the class of signatures of a single call."""
    return _simple[-1]


def is_chain(sig: Any) -> bool:
    """Return whether `sig` is a chain."""
    return isinstance(sig, TYPES["chain"])


def is_group(sig: Any) -> bool:
    """Return whether `sig` is a group."""
    return isinstance(sig, TYPES["group"])


def is_chord(sig: Any) -> bool:
    """Return whether `sig` is a chord."""
    return isinstance(sig, TYPES["chord"])


def is_empty_group(sig: Any) -> bool:
    """Return whether `sig` is a group without tasks."""
    return is_group(sig) and not sig.tasks


def maybe_unroll_group(group: Any) -> Any:
    """Return the only task of a group that has just one, else `group` itself."""
    tasks = group.tasks
    return tasks[0] if len(tasks) == 1 else group
