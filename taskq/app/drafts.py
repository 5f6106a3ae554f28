"""A task message before a channel has prepared it: what is kept of one that is to be sent later.

Made by `taskq.app.producer.Producer.collecting`; beat writes drafts down before it sends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ("Draft", "Prepared")

#: A message as a channel prepares it, with its exchange and routing key.
Prepared = tuple[Any, str, str]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message and where it goes.

    - payload: the body, serialised and compressed.
    - properties: what a broker reads besides the headers.
    - options: of the channel's publish.
    """

    payload: Any
    content_type: str
    content_encoding: str
    priority: int | None
    headers: dict[str, Any]
    properties: dict[str, Any]
    exchange: str
    routing_key: str
    options: dict[str, Any]

    def prepared(self, channel: Any, more_headers: Mapping[str, Any] | None = None) -> Prepared:
        """Return it as the channel publishes it, with more headers."""
        headers = {**self.headers, **more_headers} if more_headers else self.headers
        message = channel.prepare_message(
            self.payload,
            self.priority,
            self.content_type,
            self.content_encoding,
            headers,
            dict(self.properties),
        )
        return message, self.exchange, self.routing_key

    def publish(self, channel: Any, more_headers: Mapping[str, Any] | None = None) -> None:
        """Publish it, with more headers."""
        message, exchange, routing_key = self.prepared(channel, more_headers)
        channel.basic_publish(message, exchange=exchange, routing_key=routing_key, **self.options)

    def to_fields(self) -> dict[str, Any]:
        """Return what it consists of, to be stored as JSON."""
        return asdict(self)
