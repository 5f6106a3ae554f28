"""The options ``link`` and ``link_error`` of a call, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ("links_of",)

E_NO_SIGNATURE = (
    "{option} takes a signature, or a list of them, not {value!r}: write task.s() for a task"
)


def links_of(option: str, value: Any) -> list[Any] | None:
    """Return the signatures of an option as a list; None if there are none.

    - option: its name, for the error.
    - value: a signature or its dict, or several of them.

    Raises TypeError for anything else.
    """
    if value is None:
        return None
    linked = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
    for each in linked:
        if not isinstance(each, Mapping):
            raise TypeError(E_NO_SIGNATURE.format(option=option, value=each))
    return linked
