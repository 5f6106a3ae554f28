"""The channel: kombu's Redis channel with publishing and consuming of queues replaced.

Exchanges, bindings, fanout, key layout and connection parameters stay kombu's, so that its
processes share everything with ours.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis import exceptions

from taskq.transport.redis import checks, errors
from taskq.transport.redis.claim import ANSWER_LIMIT, CONNECTION_ERRORS, Claimer
from taskq.transport.redis.fanout import Subscription
from taskq.transport.redis.keys import Keys, ListNames
from taskq.transport.redis.lease import LeaseOptions
from taskq.transport.redis.message import Message as RedisMessage
from taskq.transport.redis.publish import Prepared, PublishBatch, Publisher, Sendable
from taskq.transport.redis.qos import QoS
from taskq.transport.redis.stencil import Stencil
from taskq.transport.redis.wire import Wire
from taskq.utils.leaseclock import LeaseClock

logger = get_logger(__name__)

#: Default of the transport option `lease`, in seconds.
LEASE = 15.0
#: The shortest lease: heartbeats must have time to get through.
SHORTEST_LEASE = 1.0


#: Seconds that the server may take for a command that is not on a hot path, unless the transport
#: option `socket_timeout` says so: a half-open connection must not hold a worker up for ever.
COMMAND_TIMEOUT = 5.0
#: Part of a lease after which a heartbeat that was not answered is tried on a new connection.
HEARTBEAT_PATIENCE = 3

E_NO_ROOM = (
    "The binding of queue %r to exchange %r could not be stored: %s What is sent through this "
    "exchange does not arrive unless the binding was there before."
)


class Channel(kombu_redis.Channel):
    """A channel on a Redis server.

    Options of its own, beside kombu's (``transport_options``):
        lease: seconds after which the messages of a worker that died or hangs are back in their
            queues; default 15.

    Kombu's option ``ack_emulation`` has no effect: messages are always kept until acknowledged.
    """

    Message = RedisMessage
    QoS = QoS

    lease: float = LEASE
    #: Whether `defer` is there: the worker parks messages with a far ETA on the server.
    can_defer = True
    #: Called with the tags of held messages that were given to others, because this process was
    #: silent for longer than its lease.
    on_lost: Callable[[frozenset[str]], None] | None = None

    #: Where the state of the lease is shown to the worker's pool.
    lease_clock: LeaseClock | None = None

    #: What receives from fanout exchanges, once any is consumed from.
    subscription: Subscription | None = None

    from_transport_options = (*kombu_redis.Channel.from_transport_options, "lease")

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        with self._explaining(connection.url):
            super().__init__(connection, **kwargs)
            if not connection.checked:
                checks.check_client(self.client, connection.url)
                connection.checked = True
        self.lease = float(self.lease)
        if not self.lease >= SHORTEST_LEASE:
            raise ValueError(
                f"The transport option 'lease' is {self.lease:g} s, and must be at least "
                f"{SHORTEST_LEASE:g} s"
            )

    # -- connections ------------------------------------------------------------

    _pool: Any = None

    @property
    def async_pool(self) -> Any:
        """One pool serves all: what kombu pops from with a connection of its own, we don't."""
        return self.pool

    @property
    def pool(self) -> Any:
        """The pool for commands that are not on a hot path."""
        pool: Any = self._pool
        if pool is None:
            pool = self._pool = self._get_pool(asynchronous=True)
        return pool

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        if parameters.get("socket_connect_timeout", 0) is None:
            parameters["socket_connect_timeout"] = self.connection.client.connect_timeout or None
        if asynchronous and parameters.get("socket_timeout") is None:
            parameters["socket_timeout"] = COMMAND_TIMEOUT
        return parameters

    @cached_property
    def _wire_pool(self) -> Any:
        # Not `pool`, whose connections know this channel: leases must not keep it alive.
        return self._get_pool(asynchronous=False)

    def _wire(self, *, patience: float | None = None) -> Wire:
        pool = self._wire_pool
        return Wire(
            lambda: pool.connection_class(**pool.connection_kwargs),
            self.connection.url,
            patience=patience,
        )

    def loop_wire(self) -> Any:
        """Return a connection for a loop to publish on what `publisher` makes of messages."""
        # Imported when the first coroutine publishes: it brings asyncio along.
        from taskq.transport.redis.loopwire import LoopWire

        return LoopWire(self._wire())

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes this channel's messages."""
        return Publisher(self, self._wire())

    @cached_property
    def claimer(self) -> Claimer:
        """Consumes this channel's queues."""
        return Claimer(
            self,
            self._lease_options(),
            wire=self._wire(patience=ANSWER_LIMIT),
            keeper_wire=self._wire(patience=max(SHORTEST_LEASE, self.lease / HEARTBEAT_PATIENCE)),
            side_wire=self.publisher.wire,
        )

    def _lease_options(self) -> LeaseOptions:
        return LeaseOptions(
            url=self.connection.url,
            keys=Keys.of(self),
            lists=ListNames.of(self),
            seconds=self.lease,
            visibility_timeout=float(self.visibility_timeout),
            restore_interval=float(getattr(self, "unacked_restore_interval", 10)),
            restore_limit=self.unacked_restore_limit,
            mutex_ttl=int(self.unacked_mutex_expire),
        )

    # -- publishing -----------------------------------------------------------------

    def basic_publish(
        self, message: Any, exchange: str = "", routing_key: str = "", **kwargs: Any
    ) -> None:
        """Publish a prepared message. Returns when the server has stored it.

        The message may be published again: it is not changed. Raises connection or channel errors.
        """
        try:
            self.publisher.publish(message, exchange, routing_key)
        except CONNECTION_ERRORS:
            self._broke()
            raise

    def basic_publish_many(self, messages: Iterable[Sendable]) -> None:
        """Publish (message, exchange, routing key) tuples in one round trip, all or none."""
        try:
            self.publisher.publish_many(messages)
        except CONNECTION_ERRORS:
            self._broke()
            raise

    def stencil(
        self,
        message: Any,
        exchange: str,
        routing_key: str,
        gaps: dict[str, str],
    ) -> Stencil | None:
        """Return what writes envelopes for `basic_publish_many` that differ from one in gaps only.

        Parameters are those of `Stencil`. None if this channel's envelopes have no such gaps.
        """
        return self.publisher.stencil(message, exchange, routing_key, gaps)

    def basic_publish_once(
        self, messages: Iterable[Prepared], lifetime: int, scope: str = ""
    ) -> None:
        """Publish those of the messages whose ids were not published by this before, as one.

        - lifetime: seconds for which the ids are remembered.
        - scope: ids are the same only within a scope.
        """
        try:
            self.publisher.publish_once(messages, lifetime, scope)
        except CONNECTION_ERRORS:
            self._broke()
            raise

    def _broke(self) -> None:
        """Take note that a connection failed: what is held stays ours when this is closed."""
        if self.connection is not None:
            self.connection.broken = True

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return a batch for ``kombu.Producer.batch``."""
        return PublishBatch(self, max_size)

    #: A batch is one transaction, and not repeated unless the caller does so.
    supports_batch_publish = True

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        self.publisher.put(queue, message)

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        try:
            with self._explaining(self.connection.url):
                super()._queue_bind(exchange, routing_key, pattern, queue)
        except exceptions.OutOfMemoryError as exc:
            # Most bindings are there from before, and consuming is what makes room.
            logger.error(E_NO_ROOM, queue, exchange, exc)
        self._forget_routes()

    def _size(self, queue: str) -> int:
        # No transaction, unlike kombu's: a server that has no memory left refuses to queue one.
        with (
            self._explaining(self.connection.url),
            self.conn_or_acquire() as client,
            client.pipeline(transaction=False) as pipe,
        ):
            for priority in self.priority_steps:
                pipe.llen(self._q_for_pri(queue, priority))
            return sum(size for size in pipe.execute() if isinstance(size, int))

    def _delete(self, *args: Any, **kwargs: Any) -> None:
        try:
            with self._explaining(self.connection.url):
                super()._delete(*args, **kwargs)
        except exceptions.OutOfMemoryError as exc:
            logger.error("Queue %r could not be deleted: %s", args[0], exc)
        self._forget_routes()

    @staticmethod
    @contextmanager
    def _explaining(url: str) -> Iterator[None]:
        """Have what redis-py raises say which server it is about, and what to do."""
        try:
            yield
        except exceptions.RedisError as exc:
            raise errors.explain(exc, url) from exc

    def _forget_routes(self) -> None:
        publisher = self.__dict__.get("publisher")
        if publisher is not None:
            publisher.forget_routes()

    # -- consuming ------------------------------------------------------------------

    @property
    def consumes(self) -> bool:
        """Whether there is anything to claim or to settle."""
        claimer = self.__dict__.get("claimer")
        return claimer is not None and claimer.active

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,
        callback: Callable[[Any], Any] | None = None,
        consumer_tag: str = "",
        **kwargs: Any,
    ) -> None:
        """Have the messages of a queue delivered to a callback."""
        super().basic_consume(queue, no_ack, callback, consumer_tag, **kwargs)
        if queue in self.active_fanout_queues:
            self.subscription = self.subscription or Subscription(self)
            self._in_listen = None  # subscribe to the new queue as well
        elif callback is not None:
            self.claimer.add_consumer(queue, consumer_tag, callback, no_ack=no_ack)

    def basic_cancel(self, consumer_tag: str) -> None:
        """Stop delivering to a consumer. Messages it was given can still be settled."""
        queue = self._tag_to_queue.get(consumer_tag)
        if self.connection is None or queue is None:
            return
        self._basic_cancel(consumer_tag)
        claimer = self.claimer
        claimer.remove_consumer(queue, consumer_tag)
        if queue in claimer.consumers:  # another consumer of this channel goes on
            self._active_queues.append(queue)
            self._update_queue_cycle()

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        """Return the next message of a queue; None if there is none."""
        message = self.claimer.get(queue, no_ack=no_ack)
        if queue in self._expires:
            self._maybe_update_queues_expire(self.client, queue)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Acknowledge a message.

        In an event loop the acknowledgement is written in the next turn or with `flush`, else at
        once. It is not lost with the connection.
        """
        if self._qos is not None and self._qos.local.pop(delivery_tag, None) is not None:
            return
        if self.claimer.ack(delivery_tag):
            self._settled()

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Drop a message, or put it back to the end of its queue, flagged as redelivered."""
        if not requeue:
            self.basic_ack(delivery_tag)
            return
        local = self.qos.local.pop(delivery_tag, None)
        if local is not None:
            self._redeliver(local)
        else:
            self.claimer.release([delivery_tag], next_up=False)

    def _redeliver(self, message: Any) -> None:
        """Hand a fanout message to its consumer again: there is no queue to put it back to."""
        queue = self._fanout_to_queue.get(message.delivery_info.get("exchange"))
        callback = self.connection._callbacks.get(queue)
        if callback is not None:
            message.headers["redelivered"] = True
            callback(message.serializable())

    def basic_recover(self, requeue: bool = False) -> None:
        """Put everything that is held back to the queues."""
        if not requeue:
            raise NotImplementedError("Redis can't deliver to the same consumer: use requeue=True")
        self.qos.restore_unacked()

    def defer(self, delivery_tag: str, due: float) -> None:
        """Store a held message on the server, to be delivered again at a given time.

        - due: unix time in seconds, by this machine's clock.

        The message is not flagged as redelivered. Written like an acknowledgement. Raises KeyError
        when the channel does not hold the message.
        """
        self.claimer.park(delivery_tag, due - time.time())
        self._settled()

    def rewrite(self, message: RedisMessage, headers: dict[str, Any]) -> None:
        """Have a held message come with other headers if it is delivered again.

        Written like an acknowledgement. Raises KeyError when the channel does not hold the message.
        """
        self.claimer.rewrite(message, headers)
        self._settled()

    def deferred(self, queues: Iterable[str], limit: int) -> list[RedisMessage]:
        """Return the messages of some queues that wait until they are due, the next ones first.

        - limit: how many of all queues' are looked at, at most.

        Nobody holds them: they are only to be looked at. Raises connection errors.
        """
        return self.claimer.parked(queues, limit)

    def release(self, delivery_tags: Iterable[str], *, redelivered: bool = False) -> None:
        """Put held messages back to the front of their queues, at once.

        - redelivered: flag them; not needed for messages that nobody has begun to work on.
        """
        self.claimer.release(delivery_tags, redelivered=redelivered)

    def times_delivered(self, message: Any) -> int:
        """Return how often a message is known to have been delivered before.

        0 for one that never came back; 1 for one that did, and 1 more for each `count_delivery`.
        Raises connection errors.
        """
        if not message.delivery_info.get("redelivered"):
            return 0
        return 1 + self.claimer.starts_of(message)

    def count_delivery(self, delivery_tag: str) -> None:
        """Note on the server that a held message, which came back before, is about to be worked on.

        Raises KeyError when the channel does not hold the message, and connection errors.
        """
        self.claimer.count_start(self.qos.get(delivery_tag))

    def flush(self) -> frozenset[str]:
        """Write all acknowledgements and parkings to the socket.

        Returns the tags of held messages that were given to others, because this process was
        silent for longer than its lease: work on them must not begin.
        """
        claimer: Claimer = self.claimer
        return claimer.flush()

    def _settled(self) -> None:
        """Something is to be written: at once, or in the next turn of the loop."""
        transport = self.connection
        if transport is None:
            return  # closed after a break: the lease's thread sends it
        hub = transport.hub
        if hub is None:
            try:
                self.claimer.send_settled()
            except CONNECTION_ERRORS as exc:
                # It is kept, and sent again; who waits for messages gets the error.
                logger.debug("Could not acknowledge yet: %r", exc)
        elif threading.get_ident() != transport.hub_thread:
            hub.call_soon(transport.on_tick)

    # -- ending ---------------------------------------------------------------------

    def close(self) -> None:
        """Cancel consumers, put what is held back to the queues, and disconnect.

        When the connection has broken, what is held is left to the next channel instead.
        """
        if self.closed:
            return
        transport, claimer = self.connection, self.__dict__.get("claimer")
        transport.forget_channel(self)
        try:
            if claimer is not None and transport.broken:
                claimer.abandon()
            elif claimer is not None:
                claimer.close()
            super().close()
        except (*CONNECTION_ERRORS, exceptions.RedisError) as exc:
            # Fanout queues are left behind; what is held comes back when its lease ends.
            holds = claimer is not None and claimer.lease is not None and not transport.broken
            level = logging.WARNING if holds else logging.DEBUG
            logger.log(level, "Could not close a channel cleanly: %s", exc)
            self._disconnect_pools()
            self._close_clients()
            virtual.Channel.close(self)
        finally:
            if "publisher" in self.__dict__:
                self.publisher.close()

    def _after_fork(self) -> None:
        super()._after_fork()
        self.__dict__.pop("claimer", None)
