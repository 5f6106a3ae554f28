"""Envelopes of many calls of one task: written once with gaps, which each call fills.

In a group of thousands everything but a few texts is the same in all messages. Making JSON of it
again for each of them is most of what sending them costs.
"""

from __future__ import annotations

import json
import re
from binascii import b2a_base64
from collections.abc import Mapping
from typing import Any

from taskq.transport.redis.envelope import BODY_FIRST, decode, delivery_tag, encode

__all__ = ("Filled", "Stencil")


class Stencil:
    """One envelope with gaps.

    - message: as `Channel.prepare_message` returns it.
    - exchange, routing_key: the destination.
    - gaps: name of a gap -> a text that stands for it in the message, and occurs nowhere else.
    """

    __slots__ = ("_rest", "exchange", "message", "routing_key")

    def __init__(
        self, message: Mapping[str, Any], exchange: str, routing_key: str, gaps: Mapping[str, str]
    ) -> None:
        self.message = message
        self.exchange = exchange
        self.routing_key = routing_key
        raw = encode({**message, "body": b""}, exchange, routing_key, "base64")
        tag = decode(raw)[1]["properties"]["delivery_tag"]
        names = {json.dumps(text): name for name, text in (*gaps.items(), ("tag", tag))}
        pattern = "|".join(map(re.escape, names))
        # What is between the gaps must not look like one to the % operator.
        pieces = re.split(f"({pattern})", raw[len(BODY_FIRST) :].decode().replace("%", "%%"))
        self._rest = "".join(f"%({names[each]})s" if each in names else each for each in pieces)

    def filled(self, body: bytes, texts: dict[str, str]) -> Filled:
        """Return the envelope of a call, with a delivery tag of its own.

        - body: of the message, not encoded yet.
        - texts: name of each gap -> JSON that belongs there.
        """
        texts["tag"] = f'"{delivery_tag()}"'
        rest = (self._rest % texts).encode()
        return Filled(self, b"".join((BODY_FIRST, b2a_base64(body, newline=False), rest)))


class Filled:
    """An envelope that is finished, where a batch has prepared messages otherwise.

    - stencil: what it was made with.
    - raw: the envelope.
    """

    __slots__ = ("raw", "stencil")

    def __init__(self, stencil: Stencil, raw: bytes) -> None:
        self.stencil = stencil
        self.raw = raw
