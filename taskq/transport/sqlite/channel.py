"""The kombu channel: AMQP's verbs in terms of the routing, publishing and consuming parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from amqp.protocol import queue_declare_ok_t
from kombu.log import get_logger
from kombu.transport import base
from kombu.utils.uuid import uuid

from taskq.transport.sqlite import claiming
from taskq.transport.sqlite.errors import DatabaseError
from taskq.transport.sqlite.inbox import BATCH, Inbox
from taskq.transport.sqlite.message import Message as SQLiteMessage
from taskq.transport.sqlite.reaper import bury_ended
from taskq.transport.sqlite.routing import QueueSpec
from taskq.transport.sqlite.subscriptions import Consumer
from taskq.utils.leaseclock import LeaseClock

if TYPE_CHECKING:
    from taskq.transport.sqlite.transport import Transport

__all__ = ("Channel",)

logger = get_logger(__name__)

#: Most fetches of one channel in one tick of the event loop, so that others get their turn.
ROUNDS_PER_TICK = 16

W_CLOSE_FAILED = (
    "A channel could not give its messages back while closing; they return to their queues when "
    "its lease runs out: %s"
)


class Channel(base.StdChannel):
    """A channel of a `sqlite://` connection, in the shape of kombu's virtual channels.

    Priorities are those of kombu's Redis transport: 0 is delivered first, 9 last. A message with
    an ``eta`` header waits in the database until then, not in the memory of a consumer.
    """

    Message = SQLiteMessage

    #: Messages can be put off with `defer`.
    can_defer = True
    supports_fanout = True
    default_priority = 0
    min_priority = 0
    max_priority = 9

    def __init__(self, connection: Transport) -> None:
        self.connection: Transport | None = connection
        self.channel_id = connection.next_channel_id()
        self.closed = False
        #: What was consumed and not yet settled, and the prefetch count.
        self.qos = Inbox(self, connection.database, connection.options)
        self._routing = connection.routing
        self._publisher = connection.publisher
        self._exclusive_queues: list[str] = []

    # -- exchanges and bindings ---------------------------------------------

    def exchange_declare(
        self,
        exchange: str | None = None,
        type: str | None = "direct",
        durable: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, Any] | None = None,
        nowait: bool = False,
        passive: bool = False,
    ) -> None:
        """Declare an exchange of type direct, topic or fanout.

        Raises:
            kombu.exceptions.ChannelError: it exists with another type, or with `passive` does
                not exist.
        """
        kind = type or "direct"
        name = exchange or f"amq.{kind}"
        if passive:
            self._routing.require_exchange(name)
        else:
            self._routing.declare_exchange(
                name, kind, durable=durable, auto_delete=auto_delete, arguments=arguments
            )

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        """Delete an exchange and its bindings."""
        self._routing.delete_exchange(exchange, if_unused=if_unused)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Bind a queue to an exchange that was declared before."""
        self._routing.bind(queue, exchange or "amq.direct", routing_key or "", arguments)

    def queue_unbind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Undo a binding."""
        self._routing.unbind(queue, exchange or "amq.direct", routing_key or "")

    def list_bindings(self) -> Iterator[tuple[str, str, str]]:
        """Yield ``(queue, exchange, routing key)`` of every binding in the database."""
        yield from self._routing.all_bindings()

    def get_table(self, exchange: str) -> list[tuple[str, None, str]]:
        """Return ``(routing key, None, queue)`` of every binding of an exchange."""
        return [(key, None, queue) for queue, key in self._routing.bindings(exchange)]

    # -- queues -------------------------------------------------------------

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: dict[str, Any] | None = None,
        nowait: bool = False,
        **kwargs: Any,
    ) -> queue_declare_ok_t:
        """Declare a queue; return its name and the numbers of ready messages and consumers.

        Honoured: auto_delete, exclusive (as: deleted when this channel closes), and the arguments
        ``x-expires`` and ``x-message-ttl``.

        Raises:
            kombu.exceptions.ChannelError: with `passive`, there is no such queue.
        """
        name = queue or f"amq.gen-{uuid()}"
        if not passive:
            spec = QueueSpec.from_arguments(
                arguments, durable=durable, exclusive=exclusive, auto_delete=auto_delete
            )
            self._routing.declare_queue(name, spec)
            if exclusive and name not in self._exclusive_queues:
                self._exclusive_queues.append(name)
        elif not self._routing.queue_exists(name):
            raise self._routing.not_found("queue", name)
        consumers = self._routing.count_consumers(name)
        if consumers and self.connection is not None:
            bury_ended(self.connection.database)
            consumers = self._routing.count_consumers(name)
        return queue_declare_ok_t(name, self._routing.count_ready(name), consumers)

    def queue_delete(
        self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any
    ) -> int:
        """Delete a queue; return the number of messages that went with it."""
        if queue in self._exclusive_queues:
            self._exclusive_queues.remove(queue)
        return self._routing.delete_queue(queue, if_unused=if_unused, if_empty=if_empty)

    def queue_purge(self, queue: str, **kwargs: Any) -> int:
        """Delete all messages that nobody holds, delayed ones included; return their number."""
        return self._routing.purge(queue)

    def after_reply_message_received(self, queue: str) -> None:
        """Delete a reply queue that has served its purpose."""
        self.queue_delete(queue)

    def prepare_queue_arguments(
        self, arguments: dict[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return queue arguments with kombu's options under the names that AMQP gives them."""
        prepared: dict[str, Any] = base.to_rabbitmq_queue_arguments(arguments or {}, **kwargs)
        return prepared

    def _size(self, queue: str) -> int:
        # Monitoring tools call this on virtual channels.
        return self._routing.count_ready(queue)

    # -- publishing ---------------------------------------------------------

    def prepare_message(
        self,
        body: Any,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: dict[str, Any] | None = None,
        properties: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return a message for `basic_publish`."""
        properties = {} if properties is None else properties
        properties.setdefault("delivery_info", {})
        properties.setdefault("priority", priority or self.default_priority)
        return {
            "body": body,
            "content-encoding": content_encoding,
            "content-type": content_type,
            "headers": {} if headers is None else headers,
            "properties": properties,
        }

    def basic_publish(
        self, message: dict[str, Any], exchange: str = "", routing_key: str = "", **kwargs: Any
    ) -> None:
        """Store a message in the queues it is routed to; it is committed when this returns."""
        self._publisher.publish(message, exchange, routing_key)

    def basic_publish_many(self, messages: Iterable[tuple[dict[str, Any], str, str]]) -> None:
        """Store ``(message, exchange, routing key)`` triples in one transaction."""
        self._publisher.publish_many(messages)

    def basic_publish_once(
        self,
        messages: Iterable[tuple[dict[str, Any], str, str]],
        lifetime: float,
        scope: str = "",
    ) -> None:
        """Store those of the triples whose messages' ids were not stored by this before, as one.

        Parameters:
            messages: as for `basic_publish_many`; the id is the ``correlation_id``.
            lifetime: seconds for which the ids are remembered.
            scope: ids are the same only within a scope.
        """
        self._publisher.publish_once(messages, lifetime, scope)

    # -- consuming ----------------------------------------------------------

    def basic_qos(
        self, prefetch_size: int = 0, prefetch_count: int = 0, apply_global: bool = False
    ) -> None:
        """Set how many unsettled messages this channel may hold; 0 is no limit."""
        self.qos.prefetch_count = prefetch_count
        self.qos.dirty = True

    def basic_consume(
        self,
        queue: str,
        no_ack: bool,
        callback: Callable[[SQLiteMessage], Any],
        consumer_tag: str = "",
        **kwargs: Any,
    ) -> str:
        """Have `callback` called with every message of the queue; return the consumer's tag."""
        tag = consumer_tag or uuid()
        self.qos.add_consumer(Consumer(tag, queue, bool(no_ack), callback))
        return tag

    def basic_cancel(self, consumer_tag: str) -> None:
        """End a consumer; messages that it was not shown yet go back."""
        self.qos.remove_consumer(consumer_tag)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> SQLiteMessage | None:
        """Return the next message of a queue, or None."""
        return self.qos.get(queue, no_ack=no_ack)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message; with `multiple` also all that were delivered before it.

        In an event loop this is written with the next tick, or by `flush`.
        """
        if multiple:
            self.qos.acknowledge_all(delivery_tag)
        else:
            self.qos.acknowledge(delivery_tag)
        self._settled()

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or with `requeue` have it delivered again."""
        if requeue:
            self.qos.requeue(delivery_tag)
        else:
            self.qos.acknowledge(delivery_tag)
        self._settled()

    def defer(self, delivery_tag: str, due: float) -> None:
        """Put a message off: it is delivered again, as if for the first time, at `due`.

        Parameters:
            delivery_tag: of a message that this channel holds.
            due: seconds since 1970.
        """
        self.qos.defer(delivery_tag, due)
        self._settled()

    def rewrite(self, message: SQLiteMessage, headers: dict[str, Any]) -> None:
        """Have a held message come with other headers if it is delivered again.

        Written like an acknowledgement.

        Raises:
            KeyError: the channel does not hold the message.
        """
        self.qos.rewrite(message.delivery_tag, message.envelope_with(headers))
        self._settled()

    def deferred(self, queues: Iterable[str], limit: int) -> list[SQLiteMessage]:
        """Return the messages of some queues that wait until they are due, the next ones first.

        Nobody holds them: they are only to be looked at.

        Parameters:
            queues: their names.
            limit: how many to return at most.
        """
        if self.connection is None:
            return []
        rows = claiming.delayed(self.connection.database, queues, limit)
        return [
            SQLiteMessage(
                channel=self,
                delivery_tag="",
                envelope=envelope,
                body=body,
                redelivered=redelivered,
                deliveries=deliveries,
            )
            for _, redelivered, deliveries, envelope, body in rows
        ]

    def release(self, delivery_tags: Iterable[str]) -> None:
        """Give messages back to their queues as if they had not been taken.

        Parameters:
            delivery_tags: of messages that nobody has begun to work on.
        """
        for delivery_tag in delivery_tags:
            self.qos.put_back(delivery_tag)
        self._settled()

    @property
    def lease_clock(self) -> LeaseClock | None:
        """Where the state of the lease is shown to the worker's pool."""
        return self.qos.lease_clock

    @lease_clock.setter
    def lease_clock(self, clock: LeaseClock | None) -> None:
        self.qos.lease_clock = clock

    def times_delivered(self, message: SQLiteMessage) -> int:
        """Return how often a message is known to have been delivered before.

        0 for one that never came back; 1 for one that did, and 1 more for each `count_delivery`.
        """
        return message.times_delivered

    def count_delivery(self, delivery_tag: str) -> None:
        """Note that a held message, which came back before, is about to be worked on again."""
        self.qos.count_start(delivery_tag)

    def basic_recover(self, requeue: bool = False) -> None:
        """Give back everything that was delivered and is not settled."""
        self.qos.requeue_all()
        self.qos.flush()

    def flush(self) -> frozenset[str]:
        """Write the acknowledgements and the like that are still pending.

        In an event loop the room that they make is used in the same transaction: what is claimed
        is delivered with the next tick.

        Returns the delivery tags of held messages that were given to others while this process was
        paused: work on them must not begin.

        Raises:
            taskq.transport.sqlite.errors.DatabaseError: they were kept, and are written later.
        """
        inbox = self.qos
        if self.connection is None or not self.connection.in_event_loop:
            inbox.flush()
        elif inbox.has_settlements():
            if inbox.wants_more():
                inbox.fetch()
            else:
                inbox.flush()
        return inbox.lost()

    def message_to_python(self, raw_message: SQLiteMessage) -> SQLiteMessage:
        """Return the message as it is: it was made for Python."""
        return raw_message

    def tick(self) -> None:
        """In an event loop: settle, fetch and deliver."""
        inbox = self.qos
        for _ in range(ROUNDS_PER_TICK):
            if inbox.wants_more():
                inbox.fetch()
            else:
                inbox.flush()
            while inbox.deliver():
                pass
            if not self.has_work():
                break

    def has_work(self) -> bool:
        """Tell whether the next `tick` would have something to do."""
        inbox = self.qos
        return inbox.has_undelivered() or inbox.has_settlements() or inbox.wants_more()

    def deliver_one(self) -> bool:
        """Without an event loop: deliver one message if there is one; return whether."""
        inbox = self.qos
        # What was claimed stays here until it is asked for. So take more than one only if the
        # prefetch count says that this consumer may.
        limit = BATCH if inbox.prefetch_count else 1
        if not inbox.has_consumers() or not inbox.can_consume():
            return inbox.deliver()
        return inbox.fetch(limit) and inbox.deliver()

    def _settled(self) -> None:
        if self.connection is not None and self.connection.in_event_loop:
            self.connection.schedule_tick()
        else:
            self.qos.flush()

    # -- the end ------------------------------------------------------------

    def close(self) -> None:
        """Settle, give everything that is held back at once, and end all consumers."""
        if self.closed:
            return
        self.closed = True
        connection, self.connection = self.connection, None
        try:
            self.qos.close(self._exclusive_queues)
        except DatabaseError as exc:
            logger.warning(W_CLOSE_FAILED, exc)
        finally:
            if connection is not None:
                connection.close_channel(self)
