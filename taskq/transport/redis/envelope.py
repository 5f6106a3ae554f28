"""Kombu's message envelope: the JSON text that a queue holds, written and read quickly.

Byte for byte what kombu's virtual transports write and read: body in base64, content type and
encoding, headers, properties.
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from functools import lru_cache
from itertools import count
from typing import Any
from uuid import uuid4

from taskq.utils.jsontext import decode_json, encode_json

#: How every envelope of kombu with a base64 body begins.
BODY_FIRST = b'{"body": "'


class _Tags:
    """Makes delivery tags: UUIDs of which the last part counts, the rest is this process's own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a process that was forked too."""
        first = str(uuid4())
        self.own = first[:24]
        self.count = count(int(first[24:], 16))


_tags = _Tags()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tags.renew)


def delivery_tag() -> str:
    """Return a new delivery tag, of the form of a random UUID (version 4)."""
    return f"{_tags.own}{next(_tags.count) & 0xFFFFFFFFFFFF:012x}"


@lru_cache(maxsize=256)
def _content_fields(content_encoding: str | None, content_type: str | None) -> bytes:
    return (
        f'", "content-encoding": {json.dumps(content_encoding)}, '
        f'"content-type": {json.dumps(content_type)}, "headers": '
    ).encode()


def encode(
    message: Mapping[str, Any], exchange: str, routing_key: str, body_encoding: str | None
) -> bytes:
    """Return the envelope of a prepared message, with a delivery tag of its own.

    - message: as `Channel.prepare_message` returns it; it is not changed.
    - exchange, routing_key: the destination, noted in the envelope.
    - body_encoding: "base64", or None for a body that is text.
    """
    body = message["body"]
    properties = {
        **message["properties"],
        "body_encoding": body_encoding,
        "delivery_tag": delivery_tag(),
    }
    properties["delivery_info"] = {
        **(properties.get("delivery_info") or {}),
        "exchange": exchange,
        "routing_key": routing_key,
    }
    if body_encoding != "base64":
        return _encode_text(message, properties)
    if isinstance(body, str):
        body = body.encode()
    headers, rest = encode_json(message["headers"]), encode_json(properties)
    return b"".join(
        (
            BODY_FIRST,
            b2a_base64(body, newline=False),
            _content_fields(message["content-encoding"], message["content-type"]),
            f'{headers}, "properties": {rest}}}'.encode(),
        )
    )


def _encode_text(message: Mapping[str, Any], properties: dict[str, Any]) -> bytes:
    body = message["body"]
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = bytes(body).decode()
    return encode_json({**message, "body": body, "properties": properties}).encode()


def decode(raw: bytes) -> tuple[Any, dict[str, Any]]:
    """Return body and the other fields of an envelope.

    The body is bytes, or text if the envelope says so. Raises ValueError, TypeError, KeyError or
    AttributeError when *raw* is no envelope of kombu.
    """
    body, fields = split(raw)
    if body and fields["properties"].get("body_encoding") == "base64":
        body = a2b_base64(body)
    return body, fields


def split(raw: bytes) -> tuple[Any, dict[str, Any]]:
    """As `decode`, but a body in base64 is left as it is: a view of the envelope, or text."""
    if raw.startswith(BODY_FIRST):
        # The body is cut out: base64 needs no JSON decoder, and is most of a large message.
        end = raw.index(b'"', len(BODY_FIRST))
        if raw[end + 1 : end + 3] == b", ":
            fields = decode_json("{" + raw[end + 3 :].decode())
            if fields["properties"].get("body_encoding") == "base64":
                return memoryview(raw)[len(BODY_FIRST) : end], fields
    fields = decode_json(raw.decode())
    return fields.pop("body", None), fields


def mark_redelivered(payload: Any) -> None:
    """Flag a parsed envelope as one that was delivered before, where kombu flags it."""
    try:
        payload["headers"]["redelivered"] = True
        payload["properties"]["delivery_info"]["redelivered"] = True
    except (KeyError, TypeError):
        pass  # not an envelope of kombu's: it goes back as it is


def priority_of(fields: Any) -> Any:
    """Return the priority of a parsed envelope, None if it has none."""
    try:
        return fields["properties"]["priority"]
    except (KeyError, TypeError):
        return None
