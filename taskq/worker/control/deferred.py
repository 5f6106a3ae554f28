"""Tasks that wait for their ETA at the broker, as the worker will get them: only to be shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kombu.exceptions import ContentDisallowed, DecodeError

from taskq.utils.log import get_logger
from taskq.worker.request import Request

logger = get_logger("celery.worker.control")

#: Most of the broker's waiting messages that are looked at, those that are due first.
LOOKED_AT = 1000


def deferred_requests(consumer: Any) -> Iterator[Request]:
    """Yield requests for what waits in the worker's queues until its ETA.

    No worker has them, so each that consumes from the queue yields them.
    """
    task_consumer = consumer.task_consumer
    deferred = getattr(getattr(task_consumer, "channel", None), "deferred", None)
    if deferred is None:
        return  # a broker that delivers them at once: they are held in memory
    for message in deferred([queue.name for queue in task_consumer.queues], LOOKED_AT):
        headers = message.headers
        # What waits without an ETA waits for a rate limit.
        if "id" not in headers or "task" not in headers or not headers.get("eta"):
            continue
        yield Request(
            message,
            app=consumer.app,
            hostname=consumer.hostname,
            task=consumer.app.tasks.get(headers["task"]),
        )


def shown(request: Request) -> dict[str, Any]:
    """Return what remote control tells about a request, whatever its body is."""
    try:
        return request.info()
    except (ContentDisallowed, DecodeError) as exc:
        logger.debug("The arguments of %s are shown as their sender did: %r", request, exc)
        return request.info(safe=True)
