"""A message as the worker gets it: made once per delivery, with as little as possible.

Claims and `basic_get` make them; fanout messages come through kombu's own constructor.
"""

from __future__ import annotations

import sys
from binascii import a2b_base64
from typing import Any, cast

from kombu.compression import decompress
from kombu.transport import virtual

from taskq.transport.redis.envelope import split

#: Characters of base64 from which on a body is decoded by who needs it. That takes as long as all
#: else together with some ten thousand.
LARGE = 4096


class Message(virtual.Message):
    """A kombu message whose `delivery_tag` names one claim of it, and no other.

    - queue: where it was claimed from; not set on fanout messages.
    - undecoded: a large body in base64, as long as nobody has asked for it.
    """

    __slots__ = ("_body", "errors", "queue", "undecoded")
    _body: Any
    undecoded: memoryview | str | None

    def __init__(self, payload: Any, channel: Any = None, **kwargs: Any) -> None:
        self.errors = self.undecoded = None
        super().__init__(payload, channel, **kwargs)

    @property
    def body(self) -> Any:
        """The body; one that is no base64 as it came, for whoever reads it to say so."""
        if self.undecoded is not None:
            try:
                self._body = a2b_base64(self.undecoded)
            except ValueError:
                self._body = (
                    self.undecoded.encode()
                    if isinstance(self.undecoded, str)
                    else bytes(self.undecoded)
                )
            self.undecoded = None
        return self._body

    @body.setter
    def body(self, body: Any) -> None:
        self._body = body

    @classmethod
    def claimed(cls, channel: Any, raw: bytes, tag: str | None, queue: str) -> Message:
        """Return the message for a claimed envelope.

        - raw: the envelope. One that can't be read gives a message with `errors`.
        - tag: the claim's tag; None for a consumer that does not acknowledge.
        - queue: where it came from.
        """
        message: Any = cls.__new__(cls)
        message.channel = channel
        message.delivery_tag = tag
        message.queue = queue
        message.accept = None
        message._decoded_cache = None
        message._state = "RECEIVED"
        message.undecoded = None
        try:
            body, fields = split(raw)
            message.properties = properties = fields["properties"]
            message.headers = headers = fields.get("headers") or {}
            message.delivery_info = delivery_info = properties.get("delivery_info") or {}
            message.content_type = fields.get("content-type")
            message.content_encoding = fields.get("content-encoding")
            if not (isinstance(headers, dict) and isinstance(delivery_info, dict)):
                raise TypeError("headers and delivery_info of a message must be objects")
            compression = headers.get("compression")
            if body and properties.get("body_encoding") == "base64":
                if len(body) >= LARGE and not compression:
                    message.undecoded, body = body, None
                else:
                    body = a2b_base64(body)
            if compression:
                body = decompress(body, compression)
            if isinstance(body, str):
                body = body.encode()
            elif body is not None and not isinstance(body, bytes):
                raise TypeError(f"the body of a message must be text, not {type(body).__name__}")
            message.body = body
            message.errors = []
        except Exception:
            _show_unreadable(message, raw, queue)
        return cast("Message", message)


def _show_unreadable(message: Any, raw: bytes, queue: str) -> None:
    """Make it a message that shows what arrived and why it can't be read."""
    message.errors = [sys.exc_info()]
    message.undecoded = None
    message.body = raw
    message.headers = {}
    message.properties = {}
    message.delivery_info = {"exchange": "", "routing_key": queue}
    message.content_type = message.content_encoding = None
