"""Which queue a received message came from."""

from __future__ import annotations

from typing import Any

__all__ = ("source_queue",)


def source_queue(app: Any, message: Any) -> str:
    """Return the name of the queue, "" if it can't be told.

    Some transports say it; else it is the consumed queue that has the exchange and routing key.
    """
    said = getattr(message, "queue", None)
    if said:
        return str(said)
    info = message.delivery_info or {}
    exchange, routing_key = info.get("exchange") or "", info.get("routing_key") or ""
    for queue in app.amqp.queues.consume_from.values():
        if queue.exchange and queue.exchange.name == exchange and queue.routing_key == routing_key:
            return str(queue.name)
    return str(routing_key) if not exchange else ""
