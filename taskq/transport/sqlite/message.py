"""A delivered message: kombu's, made from a row without detours."""

from __future__ import annotations

import sys
from typing import Any

from kombu import message as kombu_message
from kombu.compression import decompress

from taskq.transport.sqlite import envelope as envelopes

__all__ = ("Message",)


class Message(kombu_message.Message):
    """A message that a channel of this transport delivered.

    Its body is bytes. `errors` holds the exception info of what could not be decoded, as kombu
    expects it; consumers hand that to their decode-error callback.
    """

    errors: Any = ()

    def __init__(
        self,
        *,
        channel: Any,
        delivery_tag: str,
        envelope: str,
        body: bytes,
        redelivered: int = 0,
        deliveries: int = 0,
    ) -> None:
        # Not the base class's: it copies and converts what is already right here.
        self.channel = channel
        self.delivery_tag = delivery_tag
        self.accept = None
        self._decoded_cache = None
        self._state = "RECEIVED"
        self.body = body
        #: 0 for one that never came back, else 1 and 1 more for each start that was counted.
        self.times_delivered = redelivered
        try:
            headers, properties, content_type, content_encoding = envelopes.decode(envelope)
            self.delivery_info = properties["delivery_info"]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.errors = [sys.exc_info()]
            headers, properties, content_type, content_encoding = {}, {}, None, None
            self.delivery_info = properties["delivery_info"] = {}
        properties["delivery_tag"] = delivery_tag
        self.headers = headers
        self.properties = properties
        self.content_type = content_type
        self.content_encoding = content_encoding
        if redelivered:
            headers["redelivered"] = True
            self.delivery_info["redelivered"] = True
        if deliveries:
            headers["x-delivery-count"] = deliveries
        if "compression" in headers and not self.errors:
            self._decompress(headers["compression"])

    def envelope_with(self, headers: dict[str, Any]) -> str:
        """Return the stored form of the message with other headers, for the body that is stored."""
        properties = {**self.properties}
        properties.pop("delivery_tag", None)
        return envelopes.encode(
            {
                "headers": headers,
                "properties": properties,
                "content-type": self.content_type,
                "content-encoding": self.content_encoding,
            }
        )

    def _decompress(self, compression: str) -> None:
        try:
            self.body = decompress(self.body, compression)
        except Exception:
            # Any codec may raise anything; the consumer is told, and rejects the message.
            self.errors = [sys.exc_info()]
