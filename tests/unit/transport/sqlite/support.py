"""Messages for the tests of the SQLite transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: What the fixture `connect` is.
Connect = Callable[..., Any]


def publish(channel: Any, body: Any = b"x", queue: str = "q", **kwargs: Any) -> None:
    """Publish to a queue by the default exchange."""
    exchange = kwargs.pop("exchange", "")
    channel.basic_publish(message(channel, body, **kwargs), exchange, queue)


def message(channel: Any, body: Any = b"x", **kwargs: Any) -> Any:
    """Prepare a message of plain bytes."""
    kwargs.setdefault("content_type", "application/data")
    kwargs.setdefault("content_encoding", "binary")
    return channel.prepare_message(body, **kwargs)


def bodies(channel: Any, queue: str = "q") -> list[bytes]:
    """Get and acknowledge everything in a queue; return the bodies in order."""
    found = []
    while (got := channel.basic_get(queue)) is not None:
        found.append(got.body)
        got.ack()
    return found
