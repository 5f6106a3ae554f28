"""Receiving events.

`EventReceiver` is ``app.events.Receiver``; monitors, cameras and dumpers consume through it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from kombu import Queue
from kombu.connection import maybe_channel
from kombu.mixins import ConsumerMixin
from kombu.utils.uuid import uuid

from taskq.app import app_or_default
from taskq.events.checking import check_event
from taskq.events.event import get_exchange
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.log import get_logger
from taskq.utils.time import adjust_timestamp

__all__ = ("EventReceiver",)

logger = get_logger("celery.events.receiver")

#: Clock of events that clients send lags behind by one, so they come before the worker's.
CLIENT_CLOCK_SKEW = -1

_tz_fields = itemgetter("utcoffset", "timestamp")


class EventReceiver(ConsumerMixin):
    """Captures events.

    - channel: connection or channel to receive over.
    - handlers: event type -> function called with the event; ``"*"`` is for all others.
    - routing_key: pattern of the events wanted, ``#`` for all.
    - accept: content types to read; `event_serializer`'s and JSON by default, only signed events
      where that is ``auth``.
    - node_id: name of this receiver; queue_prefix: of its queue's name.
    - queue_ttl, queue_expires: seconds; queue_exclusive, queue_durable: of its queue.
    """

    app: Any = None

    def __init__(
        self,
        channel: Any,
        handlers: dict[str, Callable[[Any], Any]] | None = None,
        routing_key: str = "#",
        node_id: str | None = None,
        app: Any = None,
        queue_prefix: str | None = None,
        accept: Any = None,
        queue_ttl: float | None = None,
        queue_expires: float | None = None,
        queue_exclusive: bool | None = None,
        queue_durable: bool | None = None,
    ) -> None:
        self.app = app_or_default(app or self.app)
        conf = self.app.conf
        self.channel = maybe_channel(channel)
        self.handlers = {} if handlers is None else handlers
        self.routing_key = routing_key
        self.node_id = node_id or uuid()
        self.queue_prefix = queue_prefix or conf.event_queue_prefix
        self.exchange = get_exchange(
            self.connection or self.app.connection_for_write(), name=conf.event_exchange
        )
        exclusive = conf.event_queue_exclusive if queue_exclusive is None else queue_exclusive
        durable = conf.event_queue_durable if queue_durable is None else queue_durable
        if exclusive and durable:
            raise ImproperlyConfigured(
                "The queue of an event receiver cannot be both exclusive and durable: an exclusive "
                "queue goes away with its connection. Set event_queue_exclusive or "
                "event_queue_durable to False."
            )
        self.queue = Queue(
            ".".join([self.queue_prefix, self.node_id]),
            exchange=self.exchange,
            routing_key=self.routing_key,
            auto_delete=not durable,
            durable=durable,
            exclusive=exclusive,
            message_ttl=conf.event_queue_ttl if queue_ttl is None else queue_ttl,
            expires=conf.event_queue_expires if queue_expires is None else queue_expires,
        )
        self.clock = self.app.clock
        self.adjust_clock = self.clock.adjust
        self.forward_clock = self.clock.forward
        if accept is None:
            # Who signs events wants no others.
            accept = (
                {"auth"} if conf.event_serializer == "auth" else {conf.event_serializer, "json"}
            )
        self.accept = accept

    def process(self, type: str, event: Any) -> None:
        """Call the handler of an event."""
        handler = self.handlers.get(type) or self.handlers.get("*")
        if handler is not None:
            handler(event)

    def get_consumers(self, Consumer: Any, channel: Any) -> list[Any]:  # noqa: N803
        """Return the consumer of the receiver's queue."""
        return [
            Consumer(
                queues=[self.queue], callbacks=[self._receive], no_ack=True, accept=self.accept
            )
        ]

    def on_consume_ready(
        self, connection: Any, channel: Any, consumers: Any, wakeup: bool = True, **kwargs: Any
    ) -> None:
        """Ask the workers for a heartbeat, so that they are known at once."""
        if wakeup:
            self.wakeup_workers(channel=channel)

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> Iterator[Any]:
        """Receive events, yielding after each message."""
        return self.consume(limit=limit, timeout=timeout, wakeup=wakeup)  # type: ignore[no-any-return]

    def capture(
        self, limit: int | None = None, timeout: float | None = None, wakeup: bool = True
    ) -> None:
        """Receive events until ``limit`` messages, or none for ``timeout`` seconds."""
        for _ in self.consume(limit=limit, timeout=timeout, wakeup=wakeup):
            continue

    def wakeup_workers(self, channel: Any = None) -> None:
        """Ask the workers for a heartbeat."""
        self.app.control.broadcast("heartbeat", connection=self.connection, channel=channel)

    def event_from_message(
        self,
        body: dict[str, Any],
        localize: bool = True,
        now: Callable[[], float] = time.time,
        tzfields: Any = _tz_fields,
        adjust_timestamp: Any = adjust_timestamp,
        CLIENT_CLOCK_SKEW: int = CLIENT_CLOCK_SKEW,  # noqa: N803
    ) -> tuple[str, dict[str, Any]]:
        """Return type and event of a message body.

        - localize: turn the sender's local time into this machine's.

        Raises KeyError when it has no type, TypeError when a field is not what it should be.
        """
        check_event(body)
        type_ = body["type"]
        if type_ == "task-sent":
            # Clients have no clock that workers adjust to.
            clock = body["clock"] = (self.clock.value or 1) + CLIENT_CLOCK_SKEW
            self.adjust_clock(clock)
        else:
            try:
                clock = body["clock"]
            except KeyError:
                body["clock"] = self.forward_clock()
            else:
                self.adjust_clock(clock)
        if localize:
            try:
                offset, timestamp = tzfields(body)
            except KeyError:
                pass  # sent without a zone
            else:
                body["timestamp"] = adjust_timestamp(timestamp, offset)
        body["local_received"] = now()
        return type_, body

    def _receive(
        self, body: Any, message: Any, list: Any = list, isinstance: Any = isinstance
    ) -> None:
        for sent in body if isinstance(body, list) else [body]:
            try:
                type_, event = self.event_from_message(sent)
            except (TypeError, KeyError, ValueError, AttributeError) as exc:
                # Whatever others send, the monitor goes on.
                logger.error("Could not decode event %r: %r", sent, exc)
            else:
                self.process(type_, event)

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """A message can't be decoded or may not be: log it. Events are not acknowledged."""
        logger.error("Could not decode event: %r", exc)

    @property
    def connection(self) -> Any:
        """The connection of the channel."""
        return self.channel.connection.client if self.channel else None
