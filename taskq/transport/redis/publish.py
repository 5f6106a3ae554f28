"""Publishing: a prepared message becomes one command, and one round trip on a held connection.

`Channel.basic_publish` and `basic_publish_many` end here, and so do kombu's publish batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from kombu import exceptions as kombu_exceptions

from taskq.transport.redis import envelope
from taskq.transport.redis.keys import Keys, ListNames
from taskq.transport.redis.resp import ErrorReply, pack, pack_argument
from taskq.transport.redis.scripts import script
from taskq.transport.redis.stencil import Filled, Stencil
from taskq.transport.redis.wire import Wire
from taskq.utils.jsontext import encode_json

#: A message as `Channel.prepare_message` returns it, its exchange and its routing key.
Prepared = tuple[Mapping[str, Any], str, str]
#: The same, or an envelope that is finished already.
Sendable = tuple[Mapping[str, Any] | Filled, str, str]

#: Seconds for which the queues that an exchange leads to are remembered.
ROUTES_TTL = 1.0
#: Routes and list names remembered at most; reply queues have names of their own.
CACHE_SIZE = 1000
#: Most messages that one LPUSH takes in a bulk.
BULK_SIZE = 500

#: Raised by a failed batch; kombu has a class for that since 5.7.
BatchPublishError: type[Exception] = getattr(
    kombu_exceptions, "BatchPublishError", kombu_exceptions.OperationalError
)

_MULTI = pack("MULTI")
_EXEC = pack("EXEC")
_LPUSH = pack_argument("LPUSH")


class Publisher:
    """Publishes the messages of one channel. Thread-safe.

    - channel: whose exchanges, bindings and options count.
    - wire: the connection to publish on.
    """

    def __init__(self, channel: Any, wire: Wire) -> None:
        self._channel = channel
        self.wire = wire
        self._lists = ListNames.of(channel)
        self._once_key = Keys.of(channel).once
        self._routes: dict[tuple[str, str], tuple[float, tuple[str, ...]]] = {}
        #: (queue, priority) -> the packed name of the list.
        self._packed_lists: dict[tuple[str, Any], bytes] = {}

    def publish(self, message: Mapping[str, Any], exchange: str, routing_key: str) -> None:
        """Publish one message. Raises the server's or network errors.

        Returns when the server has it; with `Transport.answers_later`, and to a fanout exchange,
        when it is written.
        """
        commands = self.commands(message, exchange, routing_key)
        if not commands:
            return
        if getattr(self._channel.connection, "answers_later", False) and self._is_fanout(exchange):
            with self.wire.lock:
                self.wire.post(commands)
        else:
            self.execute(commands)

    def publish_many(self, messages: Iterable[Sendable]) -> None:
        """Publish messages in one round trip and one transaction: all or, on an error, none."""
        commands = self.commands_of_many(messages)
        if commands:
            self.execute(commands)

    def commands_of_many(self, messages: Iterable[Sendable]) -> list[bytes]:
        """Return the packed commands of one transaction that publishes messages; none for none."""
        pushes: dict[bytes, list[bytes]] = {}
        others: list[bytes] = []
        # Finished envelopes of one stencil go to the same lists.
        stencil: Stencil | None = None
        lists: list[list[bytes]] = []
        for message, exchange, routing_key in messages:
            if isinstance(message, Filled):
                if message.stencil is not stencil:
                    stencil = message.stencil
                    lists = self._lists_of(pushes, others, stencil.message, exchange, routing_key)
                payload = pack_argument(message.raw)
            elif self._is_fanout(exchange):
                others += self.commands(message, exchange, routing_key)
                continue
            else:
                stencil = None
                lists = self._lists_of(pushes, others, message, exchange, routing_key)
                payload = pack_argument(self._encode(message, exchange, routing_key))
            for payloads in lists:
                payloads.append(payload)
        commands = [
            b"*%d\r\n%b%b%b" % (2 + len(bulk), _LPUSH, packed_list, b"".join(bulk))
            for packed_list, payloads in pushes.items()
            for bulk in _slices(payloads, BULK_SIZE)
        ]
        # An expiry is set on a list that exists: behind the push.
        commands += dict.fromkeys(others) if pushes else others
        return [_MULTI, *commands, _EXEC] if len(commands) > 1 else commands

    def _lists_of(
        self,
        pushes: dict[bytes, list[bytes]],
        expiries: list[bytes],
        message: Mapping[str, Any],
        exchange: str,
        routing_key: str,
    ) -> list[list[bytes]]:
        """Return what is pushed to each list that a message goes to, to add it there.

        Adds what keeps queues that expire alive to the other commands.
        """
        queues = self._queues(exchange, routing_key)
        for queue in queues:
            if queue in self._channel._expires:
                expiries += self._expiry(queue)
        return [pushes.setdefault(self._packed_list(queue, message), []) for queue in queues]

    def stencil(
        self,
        message: Mapping[str, Any],
        exchange: str,
        routing_key: str,
        gaps: Mapping[str, str],
    ) -> Stencil | None:
        """Return what writes envelopes like that of a message; None if those are not of bytes.

        Parameters are those of `Stencil`.
        """
        if self._channel.body_encoding != "base64" or self._is_fanout(exchange):
            return None
        return Stencil(message, exchange, routing_key, gaps)

    def publish_once(self, messages: Iterable[Prepared], lifetime: int, scope: str) -> None:
        """Publish those of the messages whose ids were not published by this before.

        All in one round trip and one transaction. Messages to fanout exchanges, and those without
        an id (their ``correlation_id``), are published in any case.

        - lifetime: seconds for which the ids are remembered, more than 0.
        - scope: ids are the same only within a scope.
        """
        commands: list[bytes] = []
        for message, exchange, routing_key in messages:
            message_id = message["properties"].get("correlation_id")
            if not message_id or self._is_fanout(exchange):
                commands += self.commands(message, exchange, routing_key)
                continue
            queues = self._queues(exchange, routing_key)
            if not queues:
                continue
            lists = b"".join(self._packed_list(queue, message) for queue in queues)
            payload = pack_argument(self._encode(message, exchange, routing_key))
            commands.append(
                script("publish_once").pack_parts(
                    pack_argument(self._once_key + scope + message_id) + lists,
                    1 + len(queues),
                    payload + pack_argument(lifetime),
                    2,
                    with_text=True,
                )
            )
            for queue in queues:
                if queue in self._channel._expires:
                    commands += self._expiry(queue)
        if commands:
            self.execute([_MULTI, *commands, _EXEC])

    def commands(self, message: Mapping[str, Any], exchange: str, routing_key: str) -> list[bytes]:
        """Return the packed commands that publish a message; none if no queue is bound."""
        payload = pack_argument(self._encode(message, exchange, routing_key))
        if self._is_fanout(exchange):
            prefix = self._channel.global_keyprefix
            return [
                b"*3\r\n%b%b%b" % (pack_argument("PUBLISH"), pack_argument(prefix + topic), payload)
                for topic in self._topics(exchange, routing_key)
            ]
        commands = []
        for queue in self._queues(exchange, routing_key):
            commands.append(b"*3\r\n%b%b%b" % (_LPUSH, self._packed_list(queue, message), payload))
            if queue in self._channel._expires:
                commands += self._expiry(queue)
        return commands

    def knows_route(self, exchange: str, routing_key: str) -> bool:
        """Tell whether `commands` can do without asking the server where an exchange leads to."""
        if not exchange or self._is_fanout(exchange):
            return True
        known = self._routes.get((exchange, routing_key))
        return known is not None and known[0] > time.monotonic()

    def put(self, queue: str, message: Mapping[str, Any]) -> None:
        """Push an envelope that kombu's own code has made."""
        payload = pack_argument(encode_json(message))
        commands = [b"*3\r\n%b%b%b" % (_LPUSH, self._packed_list(queue, message), payload)]
        if queue in self._channel._expires:
            commands += self._expiry(queue)
        self.execute(commands)

    def execute(self, commands: list[bytes]) -> None:
        """Send packed commands and wait for all replies. Raises the first error among them."""
        wire = self.wire
        with wire.lock:
            wire.reopen_if_closed()
            replies = wire.call_many(
                b"".join(commands) if len(commands) > 1 else commands[0], len(commands)
            )
        if type(replies[-1]) is list:  # of EXEC
            for reply in replies[-1]:
                if isinstance(reply, ErrorReply):
                    raise wire.error(reply)

    def forget_routes(self) -> None:
        """Read anew which queues the exchanges lead to: something was declared."""
        self._routes.clear()

    def close(self) -> None:
        """Close the connection."""
        self.wire.close()

    def _encode(self, message: Mapping[str, Any], exchange: str, routing_key: str) -> bytes:
        return envelope.encode(message, exchange, routing_key, self._channel.body_encoding)

    def _is_fanout(self, exchange: str) -> bool:
        return bool(exchange) and self._channel.typeof(exchange).type == "fanout"

    def _topics(self, exchange: str, routing_key: str) -> list[str]:
        # kombu before 5.7 publishes to a single topic.
        topics = getattr(self._channel, "_get_publish_topics", None)
        if topics is not None:
            return list(topics(exchange, routing_key))
        return [self._channel._get_publish_topic(exchange, routing_key)]

    def _queues(self, exchange: str, routing_key: str) -> tuple[str, ...]:
        if not exchange:
            return (routing_key,)
        known = self._routes.get((exchange, routing_key))
        now = time.monotonic()
        if known is not None and known[0] > now:
            return known[1]
        queues = tuple(self._channel._lookup(exchange, routing_key))
        if queues:
            if len(self._routes) >= CACHE_SIZE:
                self._routes.clear()
            self._routes[exchange, routing_key] = (now + ROUTES_TTL, queues)
        return queues

    def _packed_list(self, queue: str, message: Mapping[str, Any]) -> bytes:
        priority = message["properties"].get("priority")
        try:
            return self._packed_lists[queue, priority]
        except (KeyError, TypeError):
            pass
        packed = pack_argument(self._lists.of_priority(queue, priority))
        if len(self._packed_lists) >= CACHE_SIZE:
            self._packed_lists.clear()
        if priority is None or isinstance(priority, (int, str)):
            self._packed_lists[queue, priority] = packed
        return packed

    def _expiry(self, queue: str) -> list[bytes]:
        milliseconds = self._channel._expires[queue]
        return [
            pack("PEXPIRE", self._lists.of_step(queue, step), milliseconds)
            for step in self._lists.steps
        ]


class PublishBatch:
    """Messages of ``kombu.Producer.batch()``, collected and published together.

    - channel: the channel to publish on.
    - max_size: messages after which the batch is published without being asked to.
    """

    def __init__(self, channel: Any, max_size: int) -> None:
        self.channel = channel
        self.max_size = max_size
        self._messages: list[Prepared] = []
        self._failure: BaseException | None = None

    def publish(
        self, message: Mapping[str, Any], exchange: str = "", routing_key: str = "", **kwargs: Any
    ) -> None:
        """Add a prepared message. Other arguments have no meaning for this transport."""
        self._refuse_after_failure()
        self._messages.append((message, exchange, routing_key))
        if len(self._messages) >= self.max_size:
            self.flush()

    def flush(self) -> None:
        """Publish what was collected. Raises BatchPublishError when that failed."""
        self._refuse_after_failure()
        messages, self._messages = self._messages, []
        if not messages:
            return
        try:
            self.channel.basic_publish_many(messages)
        except Exception as exc:
            self._failure = exc
            raise BatchPublishError(f"The batch may not have been published: {exc}") from exc

    def discard(self) -> None:
        """Forget what was collected and not published yet."""
        self._messages = []

    def close(self) -> None:
        """End the batch; what was not flushed is discarded."""
        self.discard()

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise BatchPublishError("The batch failed before; begin a new one") from self._failure


def _slices(items: list[bytes], size: int) -> Iterable[list[bytes]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
