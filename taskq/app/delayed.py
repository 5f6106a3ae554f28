"""Delayed messages kept by RabbitMQ itself, for apps with quorum queues.

Such queues cannot hold an ETA in a worker: their prefetch count is fixed. So a message with an ETA
travels through queues that each hold it for a power of two of seconds (kombu's
``native_delayed_delivery``). Asked when a task is sent; the worker makes the queues.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

from taskq.exceptions import ImproperlyConfigured
from taskq.utils.log import get_logger
from taskq.utils.quorum_queues import detect_quorum_queues
from taskq.utils.time import maybe_make_aware

__all__ = ("declare_delay_queues", "through_delay_queues", "uses_delay_queues")

logger = get_logger("celery.app.base")

QUEUE_TYPES = ("classic", "quorum")

#: Longest delay in seconds that the queues can make, 2**28 - 1: eight and a half years.
MAX_DELAY = 2**28 - 1


def uses_delay_queues(app: Any) -> bool:
    """Return whether messages of the app with an ETA are delayed by the broker's queues."""
    driver = app.connection_for_write().get_transport_cls().driver_type
    return detect_quorum_queues(app, driver)[0]


def through_delay_queues(
    app: Any, options: dict[str, Any], countdown: float | None, eta: Any
) -> dict[str, Any]:
    """Return the options of a message with an ETA, leading through the queues that delay.

    - options: exchange, routing_key, queue and so on, as routed.
    - countdown, eta: seconds until it is due, or when that is.

    They stay as they are where those queues are not in use or cannot help: for direct exchanges,
    and for what is due within a second.
    """
    if not uses_delay_queues(app):
        return options
    delay = _seconds(app, countdown, eta)
    if delay < 1:
        return options
    exchange, routing_key = _destination(app, options)
    if exchange is None or exchange.type == "direct" or not routing_key:
        logger.warning(
            "Direct exchanges are not supported with native delayed delivery. An ETA task sent to "
            "%s holds one of its worker's messages until it is due; set "
            "task_default_exchange_type = 'topic'.",
            getattr(exchange, "name", None) or "the default exchange",
        )
        return options
    from kombu.transport import native_delayed_delivery as native

    _declare_once(app, options.get("queue"))
    return {
        **{key: value for key, value in options.items() if key != "queue"},
        "declare": [],
        "exchange": native.level_name(native.MAX_LEVEL),
        "routing_key": native.calculate_routing_key(min(delay, MAX_DELAY), routing_key),
    }


def _seconds(app: Any, countdown: float | None, eta: Any) -> int:
    """Return the whole seconds until it is due, rounded up: never delivered much too early."""
    if countdown is not None:
        return ceil(countdown)
    if isinstance(eta, str):
        eta = datetime.fromisoformat(eta)
    return ceil((maybe_make_aware(eta, app.timezone) - datetime.now(UTC)).total_seconds())


def _destination(app: Any, options: Mapping[str, Any]) -> tuple[Any, str | None]:
    """Return exchange (an object) and routing key of what ``options`` lead to."""
    queue = options.get("queue")
    if isinstance(queue, str):
        queue = app.amqp.queues[queue]
    if queue is None and not options.get("exchange"):
        queue = app.amqp.default_queue
    routing_key = options.get("routing_key")
    if queue is not None:
        return queue.exchange, routing_key or queue.routing_key
    exchange = options["exchange"]
    if isinstance(exchange, str):
        known = (q.exchange for q in app.amqp.queues.values() if q.exchange)
        exchange = next((found for found in known if found.name == exchange), None)
    return exchange, routing_key or app.conf.task_default_routing_key


def declare_delay_queues(app: Any, connection: Any, queues: Iterable[Any]) -> None:
    """Make the queues that delay, and bind ``queues`` behind them; they may be there already.

    Raises ImproperlyConfigured for a queue type that there is not.
    """
    from kombu.transport import native_delayed_delivery as native

    queue_type = app.conf.broker_native_delayed_delivery_queue_type
    if queue_type not in QUEUE_TYPES:
        raise ImproperlyConfigured(
            f"broker_native_delayed_delivery_queue_type is {queue_type!r}: "
            f"one of {', '.join(QUEUE_TYPES)}"
        )
    native.declare_native_delayed_delivery_exchanges_and_queues(connection, queue_type)
    for queue in queues:
        queue(connection.default_channel).declare()
        native.bind_queue_to_native_delayed_delivery_exchange(connection, queue)


def _declare_once(app: Any, queue: Any) -> None:
    """Make what a delayed message needs, once per process: no worker may have run yet."""
    done = app.amqp.__dict__.setdefault("_delays_for", set())
    name = getattr(queue, "name", queue)
    if name in done:
        return
    queues = dict(app.amqp.queues)
    if name is not None and name not in queues:
        queues[name] = app.amqp.queues[name] if isinstance(queue, str) else queue
    with app.connection_for_write() as connection:
        declare_delay_queues(app, connection, queues.values())
    done.update({None, name}, queues)
