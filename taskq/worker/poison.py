"""Messages whose execution keeps killing their worker: counted, and stopped at a limit.

Only messages that come again are looked at, so that the others cost nothing. Redis and SQLite count
how often such a message was handed to a pool. RabbitMQ counts deliveries: quorum queues by
themselves, for other queues the message is sent anew with the count in a header.
"""

from __future__ import annotations

from typing import Any

from taskq.app.dead import kept_headers, kept_properties, source_queue
from taskq.utils.log import get_logger

__all__ = ("DeliveryLimit", "count_delivery", "delivery_limit")

logger = get_logger("celery.worker.strategy")

#: Header with the number of deliveries that did not end, where the broker counts them.
BROKERS_COUNT = "x-delivery-count"
#: The same where we count them ourselves.
OUR_COUNT = "x-taskq-deliveries"


def delivery_limit(app: Any, task: Any) -> DeliveryLimit | None:
    """Return the limit for a task, None if it has none.

    A task that is acknowledged before it runs is not delivered again after it has begun.
    """
    limit = app.conf.task_delivery_limit
    if limit is None or not task.acks_late:
        return None
    if limit < 1:
        raise ValueError(f"task_delivery_limit must be at least 1 or None, not {limit!r}")
    return DeliveryLimit(app, int(limit))


class DeliveryLimit:
    """Decides about messages that come again.

    - limit: how often one is delivered at most.
    """

    def __init__(self, app: Any, limit: int) -> None:
        self._app = app
        self._limit = limit

    def admits(self, request: Any) -> bool:
        """Tell whether a redelivered request may run; if not, it has been settled."""
        message = request.message
        headers = message.headers or {}
        channel = message.channel
        if hasattr(channel, "times_delivered"):
            deliveries = channel.times_delivered(message)
            request.counts_delivery = True
        elif BROKERS_COUNT in headers:
            deliveries = int(headers[BROKERS_COUNT])
        else:
            deliveries = int(headers.get(OUR_COUNT) or 0) + 1
            if deliveries < self._limit:
                self._send_counted(message, deliveries)
                request.acknowledge()
                return False
        if deliveries < self._limit:
            return True
        request.on_delivery_limit(deliveries, self._limit)
        return False

    def _send_counted(self, message: Any, deliveries: int) -> None:
        """Put a copy of the message with its count on the queue; the broker has it on return."""
        queue = source_queue(self._app, message)
        info = message.delivery_info
        properties = kept_properties(message)
        properties.pop("delivery_mode", None)
        self._app.dead_letters.publish(
            message.body,
            exchange="" if queue else info.get("exchange") or "",
            routing_key=queue or info.get("routing_key") or "",
            headers={**kept_headers(message), OUR_COUNT: deliveries},
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            **properties,
        )


def count_delivery(request: Any) -> None:
    """Have the broker note that a message which came again is about to be run."""
    message = request.message
    try:
        message.channel.count_delivery(message.delivery_tag)
    except Exception as exc:
        logger.warning("Could not count this delivery of %s: %r", request, exc)
