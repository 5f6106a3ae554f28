"""The shape of an event, and the exchange that events are published to."""

from __future__ import annotations

import time
from typing import Any

from kombu import Exchange

__all__ = ("Event", "event_exchange", "get_exchange", "group_from")

EVENT_EXCHANGE_NAME = "celeryev"

#: Topic exchange that events are sent to.
event_exchange = Exchange(EVENT_EXCHANGE_NAME, type="topic")


def Event(  # noqa: N802 - the public name
    type: str,
    _fields: dict[str, Any] | None = None,
    __dict__: Any = dict,
    __now__: Any = time.time,
    **fields: Any,
) -> dict[str, Any]:
    """Return an event: a dict with its type, fields and the time.

    - type: as ``task-received``.
    """
    event = __dict__(_fields, **fields, type=type) if _fields else __dict__(fields, type=type)
    if "timestamp" not in event:
        event["timestamp"] = __now__()
    return event  # type: ignore[no-any-return]


def group_from(type: str) -> str:
    """Return the group of an event type: ``task`` of ``task-sent``."""
    return type.split("-", 1)[0]


def get_exchange(conn: Any, name: str = EVENT_EXCHANGE_NAME) -> Exchange:
    """Return the exchange of events for a connection.

    Redis can't tell routing keys apart in fanout exchanges, and has only those for events.
    """
    exchange = Exchange(name, type="topic")
    if conn.transport.driver_type in {"redis", "gcpubsub"}:
        exchange.type = "fanout"
    return exchange
