"""The producer that publishes task messages, and the batch that publishes many at once.

A kombu Producer with a short path: serialise, prepare, publish; kombu's retry machinery is
entered only once something has failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from kombu import Exchange, Queue
from kombu import Producer as _KombuProducer
from kombu.common import maybe_declare
from kombu.compression import compress, encoders, get_encoder
from kombu.messaging import ChannelPromise
from kombu.serialization import dumps, registry
from kombu.utils import json as kombu_json

from taskq.app.drafts import Draft, Prepared
from taskq.app.unreachable import naming_the_broker
from taskq.utils.jsontext import encode_json

__all__ = ("Producer",)


class Producer(_KombuProducer):
    """Publishes task messages over one channel.

    Everything kombu's Producer does, and `publish_task`, the path of every ``delay()``.
    """

    #: Messages collected while a batch is open.
    _batch: list[Prepared] | None = None
    #: Messages that somebody else is going to send.
    _drafts: list[Draft] | None = None
    #: The channel that an open batch is for, if that takes messages written with a stencil.
    stencils_for: Any = None

    def publish_task(
        self,
        body: Any,
        *,
        exchange: Any,
        routing_key: str,
        serializer: str,
        compression: str | None,
        headers: dict[str, Any],
        properties: dict[str, Any],
        delivery_mode: int | str | None,
        declare: Sequence[Any],
        retry: bool,
        retry_policy: Mapping[str, Any] | None,
    ) -> Any:
        """Serialise and publish one task message.

        - body: what is serialised with ``serializer`` and compressed with ``compression``.
        - exchange, routing_key: the destination; ``""`` is the default exchange.
        - headers, properties: of the message; both may be changed.
        - delivery_mode: 1 or "transient", 2 or "persistent", which is the default.
        - declare: entities to declare first, once per connection.
        - retry, retry_policy: whether and how to try again when the connection fails.

        Returns what the channel's publish returns. Raises EncodeError before anything is sent,
        OperationalError when the broker can't be reached.
        """
        content_type, content_encoding, payload = _serialised(body, serializer)
        if compression:
            payload, headers["compression"] = _compressed(payload, compression)
        if isinstance(exchange, Exchange):
            delivery_mode = delivery_mode or exchange.delivery_mode
            exchange = exchange.name
        options = _publish_options(properties)
        # As kombu's producers have it: requests tell a priority on every broker.
        priority = properties.pop("priority", None) or 0
        if type(delivery_mode) is not int:
            delivery_mode = _delivery_mode(delivery_mode)
        properties["delivery_mode"] = delivery_mode
        expiration = properties.get("expiration")
        if expiration is not None:
            properties["expiration"] = str(int(float(expiration) * 1000))

        def send() -> Any:
            channel = self._open()
            self._declare(declare, channel)
            if self._drafts is not None:
                draft = Draft(
                    payload,
                    content_type,
                    content_encoding,
                    priority,
                    headers,
                    properties,
                    exchange,
                    routing_key,
                    options,
                )
                self._drafts.append(draft)
                return None
            message = channel.prepare_message(
                payload,
                priority,
                content_type,
                content_encoding,
                headers,
                properties,
            )
            return self._send(channel, message, exchange, routing_key, options)

        return self._ensured(send, retry=retry, retry_policy=retry_policy)

    def _declare(self, entities: Sequence[Any], channel: Any) -> None:
        for entity in entities:
            declare_once(entity, channel)

    def _send(
        self, channel: Any, message: Any, exchange: str, routing_key: str, options: dict[str, Any]
    ) -> Any:
        if self._batch is not None and not options:
            self._batch.append((message, exchange, routing_key))
            return None
        return channel.basic_publish(message, exchange=exchange, routing_key=routing_key, **options)

    @property
    def is_closed(self) -> bool:
        """Whether the channel was closed, as by an error, and can't be opened again."""
        channel = self._channel
        return (
            channel is not None and not isinstance(channel, ChannelPromise) and bool(channel.closed)
        )

    @property
    def opened_channel(self) -> Any:
        """The channel, None if it would have to be opened first."""
        channel = self._channel
        return None if self.is_closed or isinstance(channel, ChannelPromise) else channel

    def _open(self) -> Any:
        """Return the channel; connect now or raise now, as the retry policy tries again.

        Asking a connection for its channel would try for seconds by rules of its own.
        """
        if isinstance(self._channel, ChannelPromise):
            connection = self.__connection__
            if connection is not None and not connection.connected:
                connection._connection_factory()
        return self.channel

    def _ensured(self, send: Any, *, retry: bool, retry_policy: Mapping[str, Any] | None) -> Any:
        """Call ``send``; on a connection error reconnect and repeat as the policy says."""
        try:
            return send()
        except Exception as exc:
            connection = self.connection
            errors = (
                connection.recoverable_connection_errors + connection.recoverable_channel_errors
            )
            if not retry or not isinstance(exc, errors):
                with naming_the_broker(connection):
                    raise
        policy = dict(retry_policy or {})

        def send_again() -> Any:  # kombu asks what it repeats for its name
            return send()

        with naming_the_broker(connection):
            return connection.ensure(self, send_again, **policy)()

    @contextmanager
    def batch_tasks(
        self,
        *,
        retry: bool = True,
        retry_policy: Mapping[str, Any] | None = None,
        once: int | None = None,
        scope: str = "",
    ) -> Iterator[Producer]:
        """Collect the task messages published inside, and send them in one go at the end.

        Where the channel can't do that they are sent one by one, then. When the body raises
        nothing of the batch is sent. Batches may be nested: the outermost sends.

        - retry, retry_policy: whether and how to try again when the connection fails.
        - once: have the broker leave out messages whose ids it got in such a batch before, and
          remember the ids for so many seconds; ours can do that, others get them again.
        - scope: ids are the same only within a scope.
        """
        if self._batch is not None or self._drafts is not None:
            yield self
            return
        self._begin_batch(retry=retry, retry_policy=retry_policy)
        batch: list[Prepared] = []
        self._batch = batch
        if once is None and hasattr(self.channel, "stencil"):
            self.stencils_for = self.channel
        try:
            yield self
        finally:
            self._batch = self.stencils_for = None
        if batch:
            self._send_batch(batch, retry=retry, retry_policy=retry_policy, once=once, scope=scope)

    def _begin_batch(self, *, retry: bool, retry_policy: Mapping[str, Any] | None) -> None:
        self._ensured(self._open, retry=retry, retry_policy=retry_policy)

    def _send_batch(
        self,
        batch: list[Prepared],
        *,
        retry: bool,
        retry_policy: Mapping[str, Any] | None,
        once: int | None,
        scope: str,
    ) -> None:
        """Send what was collected; parameters are those of `batch_tasks`."""
        if once is not None and hasattr(self.channel, "basic_publish_once"):
            sends = [lambda: self.channel.basic_publish_once(batch, once, scope)]
        elif hasattr(self.channel, "basic_publish_many"):
            sends = [lambda: self.channel.basic_publish_many(batch)]
        else:
            sends = [partial(self._publish_prepared, *prepared) for prepared in batch]
        for send in sends:
            self._ensured(send, retry=retry, retry_policy=retry_policy)

    def _publish_prepared(self, message: Any, exchange: str, routing_key: str) -> None:
        self._open().basic_publish(message, exchange=exchange, routing_key=routing_key)

    @contextmanager
    def collecting(self) -> Iterator[list[Draft]]:
        """Give the list of the task messages published inside; it is up to the caller to send them.

        What they need declared is declared.
        """
        outer = self._drafts, self.stencils_for
        drafts: list[Draft] = []
        self._drafts, self.stencils_for = drafts, None
        try:
            yield drafts
        finally:
            self._drafts, self.stencils_for = outer

    def add_filled(self, filled: Any) -> None:
        """Add a message written with a stencil to the open batch, which must take such."""
        assert self._batch is not None
        self._batch.append((filled, filled.stencil.exchange, filled.stencil.routing_key))


def _compressed(payload: Any, compression: str) -> tuple[bytes, str]:
    """Return the payload compressed, and the content type of that.

    Raises KeyError, as kombu does, but one that says what there is.
    """
    try:
        get_encoder(compression)
    except KeyError:
        known = ", ".join(sorted(encoders()))
        raise KeyError(f"there is no compression {compression!r} here, but {known}") from None
    compressed: tuple[bytes, str] = compress(payload, compression)
    return compressed


def is_declared(entity: Any, channel: Any) -> bool:
    """Return whether this connection is known to have declared a queue; a reconnect forgets it."""
    return isinstance(entity, Queue) and _queue_key(entity) in _declared(channel)


def declare_once(entity: Any, channel: Any) -> None:
    """Declare a queue or an exchange unless this connection has.

    Kombu's ``maybe_declare`` does the same, but makes a copy of the queue to find out.
    """
    if not isinstance(entity, Queue):
        maybe_declare(entity, channel)
        return
    declared, key = _declared(channel), _queue_key(entity)
    if key not in declared:
        maybe_declare(entity, channel)
        declared.add(key)


def _declared(channel: Any) -> Any:
    return channel.connection.client.declared_entities


def _queue_key(queue: Queue) -> tuple[str, str, str | None]:
    exchange = queue.exchange
    return queue.name, queue.routing_key, exchange.name if exchange else None


def is_kombus_json(serializer: str) -> bool:
    """Return whether a serializer is kombu's json, and not one registered instead of it."""
    codec = registry._encoders.get(serializer)
    return codec is not None and codec.encoder is kombu_json.dumps


def _serialised(body: Any, serializer: str) -> tuple[str, str, Any]:
    """Return content type, encoding and text of a body. Raises EncodeError."""
    if is_kombus_json(serializer):
        codec = registry._encoders[serializer]
        try:
            return codec.content_type, codec.content_encoding, encode_json(body)
        except Exception:
            pass  # the slower way says what is wrong with it
    serialised: tuple[str, str, Any] = dumps(body, serializer)
    return serialised


#: What AMQP calls the two modes, by the names that settings and options may use.
_DELIVERY_MODES = {None: 2, "transient": 1, "persistent": 2}


def _delivery_mode(mode: Any) -> int:
    try:
        return _DELIVERY_MODES[mode] if mode is None or isinstance(mode, str) else int(mode)
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"delivery_mode must be 1 or 'transient', or 2 or 'persistent', not {mode!r}"
        ) from None


#: Options of the channel's publish that travel beside a message's properties.
CHANNEL_OPTIONS = ("mandatory", "immediate", "timeout", "confirm_timeout")


def _publish_options(properties: dict[str, Any]) -> dict[str, Any]:
    options = {}
    for name in CHANNEL_OPTIONS:
        if name in properties:
            options[name] = properties.pop(name)
    return options
