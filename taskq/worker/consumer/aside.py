"""Messages of rate-limited tasks that wait on an AMQP broker, where the worker has enough of them.

AMQP cannot put a message off. So a copy with a time to live goes to a queue whose dead letters are
returned to where they came from, and the original is acknowledged when the broker has confirmed
the copy: at no time is there none. Only the first message of a queue expires, so each task has a
queue of its own, in which later messages wait longer.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskq.transport.confirming import take_settled
from taskq.utils.log import get_logger

__all__ = ("WaitingRoom", "waiting_queue")

logger = get_logger("celery.worker.consumer")

#: Longest name of a queue, in bytes.
LONGEST_NAME = 255
#: Seconds without a worker that uses it after which a waiting queue is deleted. Much longer than
#: any message is in it.
KEEP_QUEUE = 24 * 60 * 60
#: Headers of one delivery: the body was decompressed when it came, the rest is the broker's.
_OF_DELIVERIES = (
    "compression",
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
    "x-delivery-count",
)
#: Properties that a message gets anew.
_NOT_KEPT = (
    "application_headers",
    "content_encoding",
    "content_type",
    "delivery_info",
    "delivery_tag",
    "expiration",
    "headers",
)

W_REFUSED = (
    "Messages of rate-limited tasks cannot wait on the broker, and are all held here: %r. The "
    "worker's user needs to be allowed to declare and write to queues named %r."
)


def waiting_queue(queue: str, task: str) -> str:
    """Return the name of the queue from which messages of a task go back to ``queue``."""
    name = f"taskq.limited.{queue}.{task}"
    if len(name.encode()) > LONGEST_NAME:
        return f"taskq.limited.{hashlib.sha256(name.encode()).hexdigest()}"
    return name


@dataclass(slots=True)
class _Copy:
    message: Any
    queue: str
    waiting_queue: str
    seconds: float
    settled: Callable[[], None]


class WaitingRoom:
    """Sets messages aside; made for one connection, used by its event loop alone.

    Parameters:
        connection: py-amqp's. kombu's would connect again by itself, unseen by the event loop.
        hub: the event loop; None on pools that block.
    """

    def __init__(self, connection: Any, hub: Any = None) -> None:
        self._connection = connection
        self._hub = hub
        self._channel: Any = None
        self._declared: set[str] = set()
        #: Not sent yet.
        self._waiting: deque[_Copy] = deque()
        #: Sent and not confirmed, by delivery tag of the confirmation.
        self._unconfirmed: dict[int, _Copy] = {}
        self._sent = 0
        self._settled: list[Callable[[], None]] = []
        self._scheduled = self._flushing = False
        #: Whether messages can be set aside, as far as is known.
        self.is_open = True

    def __len__(self) -> int:
        """Return for how many nobody was told yet that they are settled."""
        return len(self._waiting) + len(self._unconfirmed) + len(self._settled)

    def admit(
        self, message: Any, queue: str, task: str, seconds: float, settled: Callable[[], None]
    ) -> None:
        """Let a message wait for so many seconds.

        - queue: where it came from, and goes back to. - task: its task's name.
        - settled: called when it is acknowledged, or returned to its queue as that failed, and
          none other is under way.
        """
        self._waiting.append(_Copy(message, queue, waiting_queue(queue, task), seconds, settled))
        if self._hub is None:
            self._flush()
        elif not self._scheduled:
            # Those of one turn are sent in one go. Sending reads the socket as well, and what
            # comes then is left to the next turn.
            self._scheduled = True
            self._hub.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._flushing:
            return
        self._flushing = True
        try:
            for _ in range(len(self._waiting)):
                self._send(self._waiting.popleft())
        finally:
            self._flushing = False

    def _send(self, copy: _Copy) -> None:
        name = copy.waiting_queue
        try:
            if self._channel is None:
                self._open()
            if name not in self._declared:
                self._declare(name, copy)
        except self._connection.channel_errors as exc:
            self.is_open = False
            logger.warning(W_REFUSED, exc, name)
            self._give_back(copy)
            self._tell_settled()
            return
        message = copy.message
        headers = message.headers or {}
        properties = {
            key: value for key, value in message.properties.items() if key not in _NOT_KEPT
        }
        properties["expiration"] = str(max(1, round(copy.seconds * 1000)))
        self._sent += 1
        self._unconfirmed[self._sent] = copy
        self._channel.basic_publish(
            self._channel.prepare_message(
                message.body,
                priority=properties.pop("priority", None),
                content_type=message.content_type,
                content_encoding=message.content_encoding,
                headers={key: headers[key] for key in headers if key not in _OF_DELIVERIES},
                properties=properties,
            ),
            exchange="",
            routing_key=name,
            mandatory=True,
        )

    def _open(self) -> None:
        channel = self._connection.channel()
        channel.events["basic_ack"].add(self._on_confirmed)
        channel.events["basic_nack"].add(self._on_refused)
        channel.events["basic_return"].add(self._on_returned)
        channel.confirm_select()
        self._channel, self._sent = channel, 0

    def _declare(self, name: str, copy: _Copy) -> None:
        self._channel.queue_declare(
            name,
            durable=True,
            auto_delete=False,
            arguments={
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": copy.queue,
                "x-expires": KEEP_QUEUE * 1000,
            },
        )
        self._declared.add(name)

    def close(self) -> None:
        """The connection is gone, and the broker delivers again what was not acknowledged."""
        self.is_open = False
        self._waiting.clear()
        self._unconfirmed.clear()

    # -- what the broker says

    def _on_confirmed(self, tag: int, multiple: bool) -> None:
        for copy in take_settled(self._unconfirmed, tag, multiple=multiple):
            copy.message.ack_log_error(logger, self._connection.connection_errors)
            self._settled.append(copy.settled)
        self._tell_settled()

    def _on_refused(self, tag: int, multiple: bool) -> None:
        for copy in take_settled(self._unconfirmed, tag, multiple=multiple):
            self._give_back(copy)
        self._tell_settled()

    def _on_returned(self, exc: Any, exchange: str, routing_key: str, message: Any) -> None:
        """The queue is gone: the confirmation that comes next is worth nothing."""
        self._declared.discard(routing_key)
        returned = message.properties.get("correlation_id")
        for tag, copy in list(self._unconfirmed.items()):
            if copy.message.properties.get("correlation_id") == returned:
                del self._unconfirmed[tag]
                self._give_back(copy)
                self._tell_settled()
                return

    def _tell_settled(self) -> None:
        """Tell of all that are settled, when none is under way.

        Not of each at once: while many come, the broker may send many at a time.
        """
        if self._unconfirmed or self._waiting:
            return
        settled, self._settled = self._settled, []
        for call in settled:
            call()

    def _give_back(self, copy: _Copy) -> None:
        copy.message.reject_log_error(logger, self._connection.connection_errors, requeue=True)
        self._settled.append(copy.settled)
