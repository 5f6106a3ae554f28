"""Sending events.

`EventDispatcher` is ``app.events.Dispatcher``; workers send with it, and clients ``task-sent``.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from kombu import Producer
from kombu.exceptions import SerializationError

from taskq.app import app_or_default
from taskq.events.event import Event, get_exchange, group_from
from taskq.utils.log import get_logger
from taskq.utils.nodenames import anon_nodename
from taskq.utils.time import utcoffset

__all__ = ("EventDispatcher",)

logger = get_logger("celery.events.dispatcher")

#: Events kept while there is no connection; the oldest go first.
OFFLINE_LIMIT = 10_000


class EventDispatcher:
    """Sends events over a connection; any thread may.

    - connection: to send over; channel: instead of the connection's default one.
    - hostname: node name that the events are from.
    - enabled: whether to send at all.
    - buffer_while_offline: keep events while the connection is away, bounded.
    - groups: only send events of these groups, as ``{"task"}``.
    - delivery_mode: of the messages, 1 is transient.
    - buffer_group: events of these groups are sent in one message, by `flush`.
    - buffer_limit: how many of them make a message go out by itself.
    - on_send_buffered: called when such a message has gone out.
    """

    #: Transports that can't do topics.
    DISABLED_TRANSPORTS = {"sql"}

    app: Any = None
    #: The dispatcher that took over from this one.
    _successor: EventDispatcher | None = None
    #: Called when the dispatcher is enabled and when it is disabled.
    on_enabled: Any = None
    on_disabled: Any = None

    def __init__(
        self,
        connection: Any = None,
        hostname: str | None = None,
        enabled: bool = True,
        channel: Any = None,
        buffer_while_offline: bool = True,
        app: Any = None,
        serializer: str | None = None,
        groups: Any = None,
        delivery_mode: int = 1,
        buffer_group: Any = None,
        buffer_limit: int = 24,
        on_send_buffered: Callable[[], None] | None = None,
    ) -> None:
        self.app = app_or_default(app or self.app)
        self.connection = connection
        self.channel = channel
        self.hostname = hostname or anon_nodename()
        self.buffer_while_offline = buffer_while_offline
        self.buffer_group = frozenset(buffer_group or ())
        self.buffer_limit = buffer_limit
        self.on_send_buffered = on_send_buffered
        self._group_buffer: dict[str, list[Any]] = defaultdict(list)
        #: Held while the dispatcher's own producer is used: channels are of one thread at a time.
        self.mutex = threading.RLock()
        self.producer: Any = None
        #: What could not be sent: (event or list of events, routing key), oldest first.
        self._outbound_buffer: deque[tuple[Any, str]] = deque()
        self._kept_events = 0
        self.serializer = serializer or self.app.conf.event_serializer
        self.on_enabled: set[Callable[[], None]] = set()
        self.on_disabled: set[Callable[[], None]] = set()
        self.groups = set(groups or [])
        self.clock = self.app.clock
        self.delivery_mode = delivery_mode
        if not connection and channel is not None:
            self.connection = channel.connection.client
        self.enabled = enabled
        source = self.connection or self.app.connection_for_write()
        self.exchange = get_exchange(source, name=self.app.conf.event_exchange)
        if source.transport.driver_type in self.DISABLED_TRANSPORTS:
            self.enabled = False
        if self.enabled:
            self.enable()
        self.headers = {"hostname": self.hostname}
        self.pid = os.getpid()

    def __enter__(self) -> EventDispatcher:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def enable(self) -> None:
        """Start sending."""
        with self.mutex:
            self.producer = Producer(
                self.channel or self.connection,
                exchange=self.exchange,
                serializer=self.serializer,
                auto_declare=False,
            )
            self.enabled = True
        for callback in list(self.on_enabled):
            callback()

    def disable(self) -> None:
        """Stop sending."""
        if self.enabled:
            self.enabled = False
            self.close()
            for callback in list(self.on_disabled):
                callback()

    def publish(
        self,
        type: str,
        fields: dict[str, Any],
        producer: Any,
        blind: bool = False,
        Event: Any = Event,  # noqa: N803 - the public name
        **kwargs: Any,
    ) -> None:
        """Publish an event with a given producer, whether or not the dispatcher is enabled.

        - blind: don't advance the logical clock.
        - kwargs: ``retry``, ``retry_policy`` of the publishing.
        """
        event = self._prepare_event(type, fields, blind=blind, Event=Event)
        self._publish(event, producer, routing_key=type.replace("-", "."), **kwargs)

    def _prepare_event(
        self,
        type: str,
        fields: dict[str, Any],
        blind: bool = False,
        Event: Any = Event,  # noqa: N803
    ) -> Any:
        clock = None if blind else self.clock.forward()
        return Event(
            type,
            hostname=self.hostname,
            utcoffset=utcoffset(),
            pid=self.pid,
            clock=clock,
            **fields,
        )

    def _publish(
        self,
        event: Any,
        producer: Any,
        routing_key: str,
        retry: bool = False,
        retry_policy: Any = None,
        utcoffset: Any = utcoffset,
    ) -> bool:
        """Publish; return False when that failed and the event is kept for later."""
        exchange = self.exchange
        try:
            if producer is None:
                raise RuntimeError("the event dispatcher is closed: call enable() before send()")
            producer.publish(
                event,
                routing_key=routing_key,
                exchange=exchange.name,
                retry=retry,
                retry_policy=retry_policy,
                declare=[exchange],
                serializer=self.serializer,
                headers=self.headers,
                delivery_mode=self.delivery_mode,
            )
        except SerializationError:
            raise  # it would fail again
        except Exception:
            if not self.buffer_while_offline:
                raise
            logger.debug("Event kept until the connection is back", exc_info=True)
            self._keep(event, routing_key)
            return False
        return True

    def _keep(self, event: Any, routing_key: str) -> None:
        """Keep what could not be sent; the oldest goes when there is too much."""
        with self.mutex:
            self._outbound_buffer.append((event, routing_key))
            self._kept_events += _count(event)
            while self._kept_events > OFFLINE_LIMIT:
                oldest, _ = self._outbound_buffer.popleft()
                self._kept_events -= _count(oldest)

    def takes(self, group: str) -> bool:
        """Return whether events of a group would be sent, so that others need not be made."""
        if self._successor is not None:
            return self._successor.takes(group)
        return self.enabled and (not self.groups or group in self.groups)

    def send(
        self,
        type: str,
        blind: bool = False,
        utcoffset: Any = utcoffset,
        retry: bool = False,
        retry_policy: Any = None,
        Event: Any = Event,  # noqa: N803 - the public name
        **fields: Any,
    ) -> None:
        """Send an event, when enabled and of a wanted group.

        - blind: don't advance the logical clock.
        - retry, retry_policy: of the publishing.
        """
        if self._successor is not None:
            self._successor.send(type, blind, utcoffset, retry, retry_policy, Event, **fields)
            return
        if not self.enabled:
            return
        group = group_from(type)
        if self.groups and group not in self.groups:
            return
        if group in self.buffer_group:
            with self.mutex:
                buffer = self._group_buffer[group]
                buffer.append(self._prepare_event(type, fields, blind=blind, Event=Event))
                if len(buffer) >= self.buffer_limit:
                    self.flush()
            if self.on_send_buffered:
                self.on_send_buffered()
            return
        with self.mutex:
            self.publish(
                type,
                fields,
                self.producer,
                blind=blind,
                Event=Event,
                retry=retry,
                retry_policy=retry_policy,
            )

    def flush(self, errors: bool = True, groups: bool = True) -> None:
        """Send what is buffered; what still can't be sent stays.

        - errors: events kept while offline; groups: events sent in one message.
        """
        with self.mutex:
            if errors:
                self._flush_kept()
            if groups:
                for group, events in self._group_buffer.items():
                    if events:
                        self._group_buffer[group] = []
                        self._flush_one(events, f"{group}.multi")

    def _flush_kept(self) -> None:
        while self._outbound_buffer:
            events, routing_key = self._outbound_buffer.popleft()
            self._kept_events -= _count(events)
            if not self._flush_one(events, routing_key):
                # Kept again, and at the end: its place is at the front. The rest would fail too.
                self._outbound_buffer.rotate(1)
                return

    def _flush_one(self, events: Any, routing_key: str) -> bool:
        try:
            return self._publish(events, self.producer, routing_key)
        except SerializationError as exc:
            # Whoever sent it is gone from the stack, and keeping it would block the others.
            logger.error("Event dropped, it can't be serialized: %r", exc)
            return True

    def extend_buffer(self, other: EventDispatcher) -> None:
        """Take over what another dispatcher could not send, has not yet, or is still given.

        Tasks that ran while the connection was lost know the other one only.
        """
        other._successor = self
        with other.mutex:
            kept = list(other._outbound_buffer)
            grouped = {group: list(events) for group, events in other._group_buffer.items()}
        for events, routing_key in kept:
            self._keep(events, routing_key)
        for group, events in grouped.items():
            if events:
                self._keep(events, f"{group}.multi")

    def close(self) -> None:
        """Let go of the producer; the connection stays as it is, and so does what is buffered.

        Waits for a publish that is under way.
        """
        with self.mutex:
            self.producer = None

    @property
    def publisher(self) -> Any:
        """The producer under its older name."""
        return self.producer

    @publisher.setter
    def publisher(self, producer: Any) -> None:
        self.producer = producer

    def _get_publisher(self) -> Any:
        return self.producer

    def _set_publisher(self, producer: Any) -> None:
        self.producer = producer


def _count(event: Any) -> int:
    return len(event) if isinstance(event, list) else 1
