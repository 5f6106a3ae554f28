"""The dead letter queue of an app: writing to it, and looking after what is there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Queue
from kombu.utils.encoding import ensure_bytes

from taskq.app.dead.letter import (
    HEADER,
    DeadLetter,
    Epitaph,
    Reason,
    kept_headers,
    kept_properties,
)
from taskq.app.dead.source import source_queue
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.log import get_logger

__all__ = ("DeadLetters",)

logger = get_logger("celery.worker.dead")

#: Letters written, and seconds passed, after which a process looks whether the queue is too long.
TRIM_EVERY, TRIM_INTERVAL = 100, 60.0

E_NO_QUEUE = (
    "There is no dead letter queue: set task_dead_letter_queue to the name of a queue, and dead "
    "letters are kept from then on."
)
E_NOT_KEPT = (
    "Could not keep %s[%s] as a dead letter on queue %r: %r. Its message is settled all the same."
)


#: A condition that letters are chosen by.
Condition = Callable[[DeadLetter], bool]
#: Letters, oldest first.
Found = list[DeadLetter]


class DeadLetters:
    """The dead letters of an app.

    - app: whose settings ``task_dead_letter_*`` say where they are and for how long.

    They lie on a queue of the broker, oldest first. Reading takes them off the queue for that
    moment: who looks at the same time sees fewer.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._connection: Any = None
        self._lock = threading.Lock()
        self._written, self._trimmed = 0, 0.0

    @property
    def queue(self) -> str | None:
        """Name of the queue, None if there is none."""
        return self.app.conf.task_dead_letter_queue or None

    def wants(self, reason: Reason) -> bool:
        """Tell whether messages that die of this are kept."""
        return self.queue is not None and reason.value in self.app.conf.task_dead_letter_reasons

    # -- writing ----------------------------------------------------------------------

    def keep(
        self,
        message: Any,
        reason: Reason,
        exc: BaseException | None = None,
        traceback: Any = None,
        *,
        hostname: str = "",
        queue: str = "",
        deliveries: int = 0,
    ) -> bool:
        """Keep a received message that is dead, if such ones are kept; return whether it is.

        - message: kombu's; it is not acknowledged here.
        - queue: where it came from; found out if not given.
        - deliveries: how often it was delivered.

        On RabbitMQ it returns when the broker has confirmed the letter. An error is logged.
        """
        if not self.wants(reason):
            return False
        epitaph = Epitaph.of(
            message,
            reason,
            exc,
            traceback,
            hostname=hostname,
            queue=queue or source_queue(self.app, message),
            deliveries=deliveries,
        )
        try:
            self._write(message, epitaph)
        except Exception as error:
            headers = message.headers or {}
            logger.error(E_NOT_KEPT, headers.get("task"), headers.get("id"), self.queue, error)
            return False
        self._trim_now_and_then()
        return True

    def _write(self, message: Any, epitaph: Epitaph) -> None:
        properties = kept_properties(message)
        properties.pop("delivery_mode", None)
        lifetime = self.app.conf.task_dead_letter_expires
        self.publish(
            message.body,
            exchange="",
            routing_key=self._required_queue(),
            headers={**kept_headers(message), HEADER: epitaph.header()},
            content_type=message.content_type or "application/octet-stream",
            content_encoding=message.content_encoding or "binary",
            expiration=float(lifetime) if lifetime else None,
            declare=[self._declaration()],
            **properties,
        )

    def publish(self, body: Any, **options: Any) -> None:
        """Publish a message that may not be lost, durable, on a connection kept for this.

        - options: those of kombu's ``Producer.publish``.

        On RabbitMQ it returns when the broker has confirmed it.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._confirming_connection()
            producer = self._connection.Producer(auto_declare=False)
            producer.publish(
                _as_bytes(body),
                delivery_mode=2,
                retry=True,
                retry_policy=self.app.conf.task_publish_retry_policy,
                **options,
            )

    def _confirming_connection(self) -> Any:
        connection = self.app.connection_for_write()
        if connection.transport.driver_type == "amqp":
            options = {"confirm_publish": True, **(connection.transport_options or {})}
            connection.transport_options = options
        return connection

    def _declaration(self) -> Queue:
        """Return the queue as the app has defined it, else a plain durable one."""
        name = self._required_queue()
        if name in self.app.amqp.queues:
            defined: Queue = self.app.amqp.queues[name]
            return defined
        kind = self.app.conf.task_default_queue_type
        arguments = {"x-queue-type": kind} if kind and kind != "classic" else None
        return Queue(name, durable=True, queue_arguments=arguments)

    def close(self) -> None:
        """Close the connection that letters are written on."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    # -- reading ----------------------------------------------------------------------

    def list(self, limit: int | None = None, matching: Condition | None = None) -> Found:
        """Return letters, oldest first; those that are too old are deleted.

        - limit: at most so many. - matching: only those for which it is true.
        """
        found: Found = []
        with self._browse() as letters:
            for letter, _ in letters:
                if limit is not None and len(found) >= limit:
                    break
                if matching is None or matching(letter):
                    found.append(letter)
        return found

    def get(self, name: str) -> DeadLetter:
        """Return the letter with this key or task id. Raises KeyError."""
        found = self.list(1, lambda letter: letter.is_called(name))
        if not found:
            raise KeyError(f"There is no dead letter {name!r} on queue {self.queue!r}")
        return found[0]

    def counts(self) -> Counter[tuple[str, str]]:
        """Return how many letters there are, by task name and reason."""
        return Counter((letter.task or "", letter.epitaph.reason) for letter in self.list())

    def __len__(self) -> int:
        """Return the number of letters, as the broker counts them."""
        with self.app.connection_for_read() as connection:
            return _count(connection, self._required_queue())

    # -- repeating and deleting ---------------------------------------------------------

    def retry(
        self,
        matching: Condition = lambda letter: True,
        *,
        queue: str | None = None,
        limit: int | None = None,
    ) -> int:
        """Send letters to where they came from, as if they were new; return how many.

        - matching: which; all if not given. - queue: send them to this queue instead.

        The id stays, retries begin at 0, ETA and expiry are gone. A letter is deleted when the
        broker has its message. Raises ValueError when it isn't known where one came from.
        """
        with self._confirming_connection() as target:
            producer = target.Producer(auto_declare=False)
            return self._take(matching, limit, lambda letter: _resend(producer, letter, queue))

    def purge(
        self,
        matching: Condition = lambda letter: True,
        *,
        limit: int | None = None,
    ) -> int:
        """Delete letters for good; return how many. - matching: which; all if not given."""
        return self._take(matching, limit, lambda letter: None)

    def _take(
        self,
        matching: Condition,
        limit: int | None,
        act: Callable[[DeadLetter], None],
    ) -> int:
        """Do something with letters, and take them off the queue."""
        count = 0
        with self._browse() as letters:
            for letter, message in letters:
                if limit is not None and count >= limit:
                    break
                if matching(letter):
                    act(letter)
                    message.ack()
                    count += 1
        return count

    @contextmanager
    def _browse(self) -> Iterator[Iterator[tuple[DeadLetter, Any]]]:
        """Go through the queue. What is not acknowledged is back in its place at the end."""
        name = self._required_queue()
        with self.app.connection_for_read() as connection:
            waiting = _count(connection, name)
            channel = connection.channel()
            try:
                yield self._living(channel, name, waiting)
            finally:
                channel.close()

    def _living(self, channel: Any, name: str, waiting: int) -> Iterator[tuple[DeadLetter, Any]]:
        lifetime = self.app.conf.task_dead_letter_expires
        for _ in range(waiting):
            message = channel.basic_get(name)
            if message is None:
                return
            message = _as_kombu(channel, message)
            letter = DeadLetter(message)
            died = letter.epitaph.died
            if lifetime and died and time.time() - died > lifetime:
                message.ack()
                continue
            yield letter, message

    # -- retention ----------------------------------------------------------------------

    def trim(self) -> int:
        """Delete the oldest letters beyond ``task_dead_letter_max``; return how many."""
        most = self.app.conf.task_dead_letter_max
        if not most:
            return 0
        name, deleted = self._required_queue(), 0
        with self.app.connection_for_write() as connection:
            surplus = _count(connection, name) - int(most)
            channel = connection.channel()
            while deleted < surplus and channel.basic_get(name, no_ack=True) is not None:
                deleted += 1
        return deleted

    def _trim_now_and_then(self) -> None:
        self._written += 1
        now = time.monotonic()
        most = self.app.conf.task_dead_letter_max
        often_enough = self._written < min(TRIM_EVERY, max(1, (most or TRIM_EVERY) // 10))
        if often_enough and now - self._trimmed < TRIM_INTERVAL:
            return
        self._written, self._trimmed = 0, now
        try:
            self.trim()
        except Exception as exc:
            logger.error("Could not shorten the dead letter queue %r: %r", self.queue, exc)

    def _required_queue(self) -> str:
        if self.queue is None:
            raise ImproperlyConfigured(E_NO_QUEUE)
        return self.queue


def _as_bytes(body: Any) -> bytes:
    if body is None:
        return b""
    data: bytes = bytes(body) if isinstance(body, memoryview | bytearray) else ensure_bytes(body)
    return data


def _as_kombu(channel: Any, message: Any) -> Any:
    """Return a message of ``basic_get`` as kombu's: some transports give it as it came."""
    return message if hasattr(message, "ack") else channel.message_to_python(message)


def _count(connection: Any, name: str) -> int:
    """Return the number of waiting messages; none if there is no such queue yet."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(name, passive=True).message_count)
    except connection.channel_errors:
        return 0


def _require_queue(producer: Any, name: str) -> None:
    """Refuse a queue that is gone: a message for nobody would be lost."""
    try:
        producer.channel.queue_declare(name, passive=True)
    except producer.connection.channel_errors as exc:
        raise ValueError(f"The queue {name!r} is not there to send dead letters to") from exc


def _resend(producer: Any, letter: DeadLetter, queue: str | None) -> None:
    epitaph = letter.epitaph
    target = queue or epitaph.queue
    if target:
        if producer.connection.transport.driver_type == "amqp":
            _require_queue(producer, target)
        destination = {"exchange": "", "routing_key": target}
    elif epitaph.routing_key:
        destination = {"exchange": epitaph.exchange, "routing_key": epitaph.routing_key}
    else:
        raise ValueError(f"It is not known where {letter!r} came from: name a queue to send it to")
    properties = dict(letter.properties)
    properties.pop("delivery_mode", None)
    producer.publish(
        letter.body,
        headers=letter.fresh_headers(),
        content_type=letter.content_type,
        content_encoding=letter.content_encoding,
        delivery_mode=2,
        **destination,
        **properties,
    )
