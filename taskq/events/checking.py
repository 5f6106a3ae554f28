"""Whether an event is one: anybody who reaches the broker may send what looks like it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ("check_event",)

#: Fields that are text, and those that may be None too.
_TEXTS = ("hostname", "uuid", "id", "topic")
_OPTIONAL_TEXTS = ("name", "parent_id", "root_id", "state")
#: Fields that are numbers.
_NUMBERS = ("timestamp", "utcoffset", "freq")
#: Logical clocks above it are made up, and would be passed on for ever.
_LARGEST_CLOCK = 2**63
#: Seconds since 1970 that a clock may show: until the year 5138.
_LARGEST_NUMBER = 1e11


def check_event(body: Any) -> None:
    """Raise TypeError unless this is a mapping whose fields are of the types they should be.

    Fields that are not there are not missed; neither are fields looked at that nobody knows.
    """
    if not isinstance(body, Mapping):
        raise TypeError(f"an event must be a mapping, not {type(body).__name__}")
    if not isinstance(body["type"], str):
        raise TypeError(f"the type of an event must be text, not {body['type']!r}")
    for name in _TEXTS:
        if name in body and not isinstance(body[name], str):
            raise TypeError(f"{name} must be text, not {body[name]!r}")
    for name in _OPTIONAL_TEXTS:
        if not isinstance(body.get(name), str | None):
            raise TypeError(f"{name} must be text, not {body[name]!r}")
    for name in _NUMBERS:
        value = body.get(name)
        if value is not None and not _is_number(value):
            raise TypeError(f"{name} must be a number, not {value!r}")
    clock = body.get("clock", 0)
    if not isinstance(clock, int) or not 0 <= clock < _LARGEST_CLOCK:
        raise TypeError(f"clock must be a number that counts events, not {clock!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and abs(value) <= _LARGEST_NUMBER
