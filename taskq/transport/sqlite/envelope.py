"""The stored form of a message: its body as it is, everything else as one JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from kombu.utils.json import JSONEncoder
from kombu.utils.json import loads as loads_with_types

__all__ = ("decode", "due_time", "encode", "encode_body", "expiry", "priority")

LOWEST_PRIORITY = 9

#: Kombu's encoder writes dates, UUIDs, bytes, ... as objects with this key.
TYPE_MARK = '"__type__"'

_encode: Callable[[Any], str] = JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def encode(message: dict[str, Any]) -> str:
    """Return the envelope of a message as `Channel.prepare_message` makes it."""
    return _encode(
        [
            message["headers"],
            message["properties"],
            message["content-type"],
            message["content-encoding"],
        ]
    )


def decode(envelope: str) -> tuple[dict[str, Any], dict[str, Any], str | None, str | None]:
    """Return headers, properties, content type and content encoding.

    Raises:
        ValueError: it is not an envelope.
    """
    parts = loads_with_types(envelope) if TYPE_MARK in envelope else _decode(envelope)
    headers, properties, content_type, content_encoding = parts
    return headers, properties, content_type, content_encoding


def encode_body(body: Any) -> bytes:
    """Return the body as bytes; text becomes UTF-8."""
    if isinstance(body, str):
        return body.encode("utf-8", "surrogatepass")
    return bytes(body) if body is not None else b""


def due_time(headers: dict[str, Any], now: float) -> float | None:
    """Return when a message with an ETA may be delivered, in seconds since 1970.

    None means at once: without an ETA, after it, and also with one that has no time zone or
    makes no sense, because only the consumer can tell what that means.
    """
    eta = headers.get("eta")
    if not isinstance(eta, str):
        return None
    try:
        moment = datetime.fromisoformat(eta)
        due = None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return due if due is not None and due > now else None


def expiry(message: dict[str, Any], now: float) -> float | None:
    """Return when the message expires by its own ``expiration`` property (milliseconds).

    Tasks don't: the worker that gets one too late stores that it has expired, for those who wait.
    """
    expiration = message["properties"].get("expiration")
    if expiration is None or message["headers"].get("expires") is not None:
        return None
    try:
        return now + int(expiration) / 1000
    except (TypeError, ValueError, OverflowError):
        return None


def priority(properties: dict[str, Any]) -> int:
    """Return the priority from 0, delivered first, to 9; anything else counts as 0."""
    try:
        return max(0, min(int(properties["priority"]), LOWEST_PRIORITY))
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0
