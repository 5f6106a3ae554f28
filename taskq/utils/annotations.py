"""Questions about type annotations.

Used for tasks whose arguments are converted with Pydantic.
"""

from __future__ import annotations

import types
import typing
from inspect import isclass
from typing import Any


def is_none_type(value: Any) -> bool:
    """Return True if ``value`` is the type of None."""
    return value is type(None)


def get_optional_arg(annotation: Any) -> Any:
    """Return ``X`` if the annotation is ``Optional[X]`` or ``X | None``, else None."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return None
    members = typing.get_args(annotation)
    others = [member for member in members if not is_none_type(member)]
    return others[0] if len(members) == 2 and len(others) == 1 else None


def annotation_is_class(annotation: Any) -> bool:
    """Return True if the annotation is a class, and not a generic one with arguments."""
    return isclass(annotation) and typing.get_origin(annotation) is None


def annotation_issubclass(annotation: Any, cls: type) -> bool:
    """Return True if the annotation is a subclass of ``cls``."""
    return annotation_is_class(annotation) and issubclass(annotation, cls)
