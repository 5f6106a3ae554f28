"""Messages: the app's queues, routes, and the sending of task messages.

``app.amqp`` is one of these; `TaskQ.send_task` calls it for every message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from kombu import Consumer, Exchange, Queue
from kombu.common import Broadcast

from taskq import signals
from taskq.app import routes as _routes
from taskq.app.messages import MessageBuilder, task_message
from taskq.app.producer import Producer
from taskq.app.queues import Queues
from taskq.app.shortcut import Shortcut
from taskq.canvas.signature import plain
from taskq.transport import TRANSPORTS, Connection, ProducerPool

__all__ = ("AMQP", "Queues", "task_message")

#: Message options that task options may carry and that are properties of the message.
_NOT_PROPERTIES = frozenset({"ignore_result", "stamped_headers", "link", "link_error"})


class AMQP(MessageBuilder):
    """App API for queues, routes and task messages. One per app."""

    Connection = Connection
    Consumer = Consumer
    Producer = Producer
    BrokerConnection = Connection
    queues_cls = Queues
    #: URL schemes of brokers whose transport is ours.
    own_transports = frozenset(TRANSPORTS)

    #: Cached and prepared routing table.
    _rtable: list[Any] | None = None
    #: The pool of producers, made on first use.
    _producer_pool: Any = None
    _queues: Any = None
    #: The last `send_task_message` made here, to know it from one that was put in its place.
    own_sender: Any = None
    #: Function of a queue name that returns the exchange of queues created on demand.
    autoexchange: Callable[[str], Exchange] | None = None

    def __init__(self, app: Any) -> None:
        self.app = app
        self.task_protocols: dict[int, Callable[..., task_message]] = {
            1: self.as_task_v1,
            2: self.as_task_v2,
        }
        self.app.conf.bind_to(self._handle_conf_update)

    @cached_property
    def create_task_message(self) -> Callable[..., task_message]:
        """The function that builds messages in the configured protocol."""
        return self.task_protocols[self.app.conf.task_protocol]

    @cached_property
    def repr_maxlevels(self) -> int:
        """How many containers deep representations of arguments go."""
        return int(self.app.conf.task_repr_maxlevels)

    @cached_property
    def send_task_message(self) -> Callable[..., Any]:
        """The function that publishes a message; settings are read when it is made."""
        sender = self.own_sender = self._create_task_sender()
        return sender

    def shortcut(self, task: Any) -> Shortcut:
        """Return the short way for calls of a task that have no options."""
        return Shortcut(task)

    def Queues(  # noqa: N802 - the public name
        self,
        queues: Any,
        create_missing: bool | None = None,
        create_missing_queue_type: str | None = None,
        create_missing_queue_exchange_type: str | None = None,
        autoexchange: Any = None,
        max_priority: int | None = None,
    ) -> Any:
        """Return the queue mapping for the settings of this app."""
        conf = self.app.conf
        if create_missing is None:
            create_missing = conf.task_create_missing_queues
        if create_missing_queue_type is None:
            create_missing_queue_type = conf.task_create_missing_queue_type
        if create_missing_queue_exchange_type is None:
            create_missing_queue_exchange_type = conf.task_create_missing_queue_exchange_type
        if max_priority is None:
            max_priority = conf.task_queue_max_priority
        if not queues and conf.task_default_queue:
            arguments = (
                {"x-queue-type": "quorum"} if conf.task_default_queue_type == "quorum" else None
            )
            queues = (
                Queue(
                    conf.task_default_queue,
                    exchange=self.default_exchange,
                    routing_key=conf.task_default_routing_key,
                    queue_arguments=arguments,
                ),
            )
        return self.queues_cls(
            queues,
            self.default_exchange,
            create_missing,
            create_missing_queue_type,
            create_missing_queue_exchange_type,
            autoexchange if autoexchange is not None else self.autoexchange,
            max_priority,
            conf.task_default_routing_key,
        )

    def Router(  # noqa: N802 - the public name
        self, queues: Any = None, create_missing: bool | None = None
    ) -> _routes.Router:
        """Return a router over the ``task_routes`` setting."""
        return _routes.Router(
            self.routes,
            queues or self.queues,
            self.app.either("task_create_missing_queues", create_missing),
            app=self.app,
        )

    def flush_routes(self) -> None:
        """Read the ``task_routes`` setting again."""
        self._rtable = _routes.prepare(self.app.conf.task_routes)

    def TaskConsumer(  # noqa: N802 - the public name
        self, channel: Any, queues: Any = None, accept: Any = None, **kw: Any
    ) -> Any:
        """Return a kombu consumer of the queues this app consumes from."""
        if accept is None:
            accept = self.app.conf.accept_content
        return self.Consumer(
            channel,
            accept=accept,
            queues=queues or list(self.queues.consume_from.values()),
            **kw,
        )

    def _create_task_sender(self) -> Callable[..., Any]:
        """Return `send_task_message` with the settings it needs read once."""
        conf = self.app.conf
        default_retry = conf.task_publish_retry
        default_policy = dict(conf.task_publish_retry_policy)
        default_delivery_mode = conf.task_default_delivery_mode
        default_queue = self.default_queue
        default_exchange = self.default_exchange
        default_routing_key = conf.task_default_routing_key
        default_serializer = conf.task_serializer
        default_compression = conf.task_compression
        queues = self.queues
        before_publish = signals.before_task_publish
        after_publish = signals.after_task_publish

        def send_task_message(
            producer: Any,
            name: str,
            message: task_message,
            exchange: Any = None,
            routing_key: str | None = None,
            queue: Any = None,
            event_dispatcher: Any = None,
            retry: bool | None = None,
            retry_policy: Mapping[str, Any] | None = None,
            serializer: str | None = None,
            delivery_mode: Any = None,
            compression: str | None = None,
            declare: Any = None,
            headers: Mapping[str, Any] | None = None,
            exchange_type: str | None = None,
            **properties: Any,
        ) -> Any:
            """Publish a message made by `create_task_message`.

            - producer: the producer to publish with.
            - name: the task's name, sender of the signals.
            - queue, exchange, routing_key, exchange_type: the destination.
            - retry, retry_policy: of publishing, default to the settings.
            - declare: entities to declare first, default to the queue.
            - headers: added to the message's headers.
            - properties: added to the message's properties.
            """
            all_headers, all_properties, body, sent_event = message
            if headers:
                all_headers.update(headers)
            if properties:
                all_properties.update(
                    (key, value)
                    for key, value in properties.items()
                    if value is not None and key not in _NOT_PROPERTIES
                )
            queue_name: Any = queue
            if queue is None and exchange is None:
                queue = default_queue
            if queue is not None:
                if isinstance(queue, str):
                    queue_name, queue = queue, queues[queue]
                else:
                    queue_name = queue.name
            if delivery_mode is None:
                delivery_mode = (
                    getattr(getattr(queue, "exchange", None), "delivery_mode", None)
                    or default_delivery_mode
                )
            if exchange_type is None:
                exchange_type = getattr(getattr(queue, "exchange", None), "type", None) or "direct"
            if (not exchange or not routing_key) and exchange_type == "direct":
                # The default exchange leads straight to the queue of that name.
                exchange, routing_key = "", queue_name
            elif exchange is None:
                exchange = (queue.exchange.name if queue is not None else None) or (
                    default_exchange.name
                )
                routing_key = (
                    routing_key
                    or (queue.routing_key if queue is not None else None)
                    or default_routing_key
                )
            if declare is None:
                declare = () if queue is None else (_to_declare(queue),)
            if retry is None:
                retry = default_retry
            policy = {**default_policy, **retry_policy} if retry_policy else default_policy
            if before_publish.receivers:
                before_publish.send(
                    sender=name,
                    body=body,
                    exchange=exchange,
                    routing_key=routing_key,
                    declare=declare,
                    headers=all_headers,
                    properties=all_properties,
                    retry_policy=policy,
                )
            serializer = serializer or default_serializer
            if serializer != "json":
                # Others know no signatures, or write what only a taskq could read.
                body = plain(body)
            published = self._publish(
                producer,
                body,
                exchange=exchange,
                routing_key=routing_key or "",
                serializer=serializer,
                compression=compression or default_compression,
                headers=all_headers,
                properties=all_properties,
                delivery_mode=delivery_mode,
                declare=declare,
                retry=retry,
                retry_policy=policy,
            )
            if after_publish.receivers:
                after_publish.send(
                    sender=name,
                    body=body,
                    headers=all_headers,
                    exchange=exchange,
                    routing_key=routing_key,
                )
            if sent_event is not None:
                exchange_name = exchange.name if isinstance(exchange, Exchange) else exchange
                sent_event.update(queue=queue_name, exchange=exchange_name, routing_key=routing_key)
                dispatcher = event_dispatcher or self._event_dispatcher
                dispatcher.publish(
                    "task-sent", sent_event, producer, retry=retry, retry_policy=policy
                )
            return published

        return send_task_message

    def _publish(self, producer: Any, body: Any, **options: Any) -> Any:
        """Publish with a producer of ours, or with any kombu producer handed in by a user."""
        if isinstance(producer, Producer):
            return producer.publish_task(body, **options)
        properties = options.pop("properties")
        return producer.publish(body, **options, **properties)

    @contextmanager
    def batch(self, producer: Any, *, once: int | None = None, scope: str = "") -> Iterator[Any]:
        """Collect the task messages published with this producer and send them in one go.

        Brokers that can't take a batch get them one by one, at the end. Nothing is sent when the
        body raises.

        Parameters:
            producer: the producer; one that is not ours publishes at once.
            once: have brokers of ours leave out messages whose ids they got in such a batch
                before, and remember the ids for so many seconds.
            scope: ids are the same only within a scope.
        """
        if not isinstance(producer, Producer):
            yield producer
            return
        conf = self.app.conf
        with producer.batch_tasks(
            retry=conf.task_publish_retry,
            retry_policy=conf.task_publish_retry_policy,
            once=once,
            scope=scope,
        ):
            yield producer

    @cached_property
    def default_queue(self) -> Queue:
        """The queue of tasks that no route sends elsewhere."""
        return self.queues[self.app.conf.task_default_queue]

    @property
    def queues(self) -> Any:
        """The app's queues, by name; assigning makes them of Queue objects or options."""
        if self._queues is None:
            self._queues = self.Queues(self.app.conf.task_queues)
        return self._queues

    @queues.setter
    def queues(self, queues: Any) -> None:
        self._queues = self.Queues(queues)

    @property
    def routes(self) -> list[Any]:
        """The prepared ``task_routes``."""
        if self._rtable is None:
            self.flush_routes()
        assert self._rtable is not None
        return self._rtable

    @cached_property
    def router(self) -> _routes.Router:
        """The router over `routes`."""
        return self.Router()

    @property
    def producer_pool(self) -> Any:
        """The pool of producers; its size is ``broker_pool_limit``."""
        if self._producer_pool is None:
            pool = self.app.pool
            self._producer_pool = ProducerPool(pool, pool.limit, self.Producer)
        return self._producer_pool

    publisher_pool = producer_pool

    @cached_property
    def default_exchange(self) -> Exchange:
        """The exchange of queues that name none."""
        conf = self.app.conf
        return Exchange(conf.task_default_exchange, conf.task_default_exchange_type)

    @cached_property
    def utc(self) -> bool:
        """Whether times in messages are UTC."""
        return bool(self.app.conf.enable_utc)

    @cached_property
    def _event_dispatcher(self) -> Any:
        # Only used to publish task-sent with the producer at hand, so it needs no connection.
        return self.app.events.Dispatcher(enabled=False)

    def _handle_conf_update(self, *args: Any, **kwargs: Any) -> None:
        """Forget what was made from settings that have now changed."""
        changed = {*kwargs, *(key for arg in args if isinstance(arg, Mapping) for key in arg)}
        if "task_routes" in changed:
            self.flush_routes()
            self.__dict__.pop("router", None)
        if any(key.startswith("task_") for key in changed):
            self.__dict__.pop("send_task_message", None)
            self.__dict__.pop("create_task_message", None)
            self.__dict__.pop("repr_maxlevels", None)
        if changed & {"task_queues", "task_create_missing_queues"}:
            self._queues = None
            for name in ("default_queue", "router"):
                self.__dict__.pop(name, None)


def _to_declare(queue: Queue) -> Queue | Exchange:
    """Return what must be there for a message to a queue: the queue itself, as a rule.

    Of a broadcast each worker has a queue of its own. Brokers that keep no exchanges must know all
    the same that this one copies messages.
    """
    return queue.exchange if isinstance(queue, Broadcast) else queue
