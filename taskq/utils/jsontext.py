"""Kombu's JSON, written and read quickly: as kombu's json serializer does, prepared once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kombu.utils.json import JSONEncoder
from kombu.utils.json import loads as kombu_loads

__all__ = ("decode_json", "encode_json")

#: Marks values that kombu's JSON decoder turns into Python objects (dates, UUIDs, …).
_TYPED = '"__type__"'

_raw_decode = json.JSONDecoder().raw_decode


def _make_encoder() -> Callable[[Any], str]:
    """Return kombu's JSON encoder as a function, prepared once where CPython allows that."""
    encoder: Any = JSONEncoder()
    probe = {"a": [1, None, True, 1.5], "ä": "b"}
    try:
        # A name of json.encoder since Python 3.1, though not a documented one.
        prepared: Any = json.encoder.c_make_encoder(  # type: ignore[attr-defined]
            None,
            encoder.default,
            json.encoder.encode_basestring_ascii,
            None,
            encoder.key_separator,
            encoder.item_separator,
            False,
            False,
            True,
        )
        if "".join(prepared(probe, 0)) == encoder.encode(probe):
            return lambda value: "".join(prepared(value, 0))
    except (AttributeError, TypeError):
        pass  # another Python implementation, or one that changed its inside
    encode: Callable[[Any], str] = encoder.encode
    return encode


#: Returns a value as JSON. Raises TypeError, ValueError or RecursionError for what has none.
encode_json = _make_encoder()


def decode_json(text: str) -> Any:
    """Return what JSON text says. Raises ValueError."""
    if _TYPED in text:
        return kombu_loads(text)
    try:
        value, end = _raw_decode(text)
    except ValueError:
        value, end = None, -1
    if end != len(text):
        value = json.loads(text)  # white space around it, or an error that it explains
    return value
