"""Kombu's JSON, written quickly: the same text as kombu's json serializer, prepared once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kombu.utils.json import JSONEncoder

__all__ = ("encode_json",)


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
