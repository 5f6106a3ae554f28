"""The client side of ``rpc://``: consumes the reply queues and keeps what nobody waits for yet.

Used by `RPCBackend` through its `Waiter`, by one thread at a time.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from kombu import Consumer
from kombu.exceptions import OperationalError

from taskq import states
from taskq.backends.waiting import Meta, ResultSource, Wakeup

__all__ = ("RPCSource",)

logger = logging.getLogger(__name__)

#: How many tasks to keep states of that nobody has asked for; the oldest go first.
MAX_UNCLAIMED = 8192
#: How many states of one such task to keep for `on_message`.
MAX_STATES = 100
#: How many states of tasks that somebody has asked for to keep for whoever asks again.
MAX_CLAIMED = 1024
#: And how many bytes of message bodies they may have together.
MAX_CLAIMED_BYTES = 8 * 1024 * 1024
#: Longest time (seconds) in a transport whose socket cannot be watched beside the wakeup.
SLICE = 0.05


class RPCSource(ResultSource):
    """Consumes the reply queues of all threads of this client over a connection of its own."""

    Consumer = Consumer
    retry_limit_error = OperationalError

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._connection: Any = None
        self._consumer: Any = None
        self._arrived: list[Meta] = []
        self._store = StateStore()
        with backend.app.connection_for_read() as connection:
            self.recoverable_errors = (
                *connection.connection_errors,
                *connection.channel_errors,
                OperationalError,
            )

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        self._consume()
        metas: list[Meta] = []
        for task_id in task_ids:
            metas.extend(self._store.claim(task_id))
        return metas

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        self._consume()
        self._drain_now(0)
        if not self._arrived and timeout > 0:
            self._wait(timeout, wakeup)
        arrived, self._arrived = self._arrived, []
        return arrived

    def unclaimed(self, meta: Meta) -> None:
        self._store.keep(meta)

    def disconnect(self) -> None:
        connection, self._connection, self._consumer = self._connection, None, None
        self._backend._declared.clear()
        if connection is not None:
            connection.collect(socket_timeout=0.1)

    def after_fork(self) -> None:
        connection, self._connection, self._consumer = self._connection, None, None
        self._arrived = []
        self._store = StateStore()
        if connection is not None:
            close_descriptor(connection)

    def last_state(self, task_id: str) -> Meta | None:
        """Return the last state that has arrived for a task; any thread may ask."""
        return self._store.last(task_id)

    def forget(self, task_id: str) -> None:
        """Forget what has arrived for a task."""
        self._store.forget(task_id)

    # -- the connection -----------------------------------------------------------

    def _consume(self) -> None:
        """Consume from the reply queues, those of new threads included."""
        names = self._backend.reply_queue_names()
        if self._consumer is None:
            self._connection = self._backend.app.connection_for_read()
            self._connect_once()
            self._consumer = self.Consumer(
                self._connection.default_channel,
                [self._backend.queue_for(name) for name in names],
                on_message=self._on_message,
                no_ack=True,
                accept=self._backend.accept,
            )
            self._consumer.consume()
        else:
            for name in names:
                if name not in self._consumer._queues:
                    self._consumer.add_queue(self._backend.queue_for(name))
                    self._consumer.consume()
        self._backend._declared.update(names)

    def _connect_once(self) -> None:
        """Try each of the broker's URLs once: the `Waiter` pauses and tries again.

        It does so within the time that its callers have.
        """
        others = len(self._connection.alt or ())
        self._connection.ensure_connection(
            max_retries=max(1, others), interval_start=0, interval_step=0, interval_max=0
        )

    def _wait(self, timeout: float, wakeup: Wakeup) -> None:
        """Block until a message has arrived, `wakeup` is set or the time is up."""
        deadline = time.monotonic() + timeout
        sock = watchable_socket(self._connection)
        while not self._arrived and not wakeup.is_set():
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if sock is None:
                self._drain_now(min(left, SLICE))
            else:
                wait_for_either(sock.fileno(), wakeup.fileno(), left)
                self._drain_now(0)

    def _drain_now(self, timeout: float) -> None:
        """Take one message, waiting `timeout` seconds for it, and all that came with it."""
        try:
            while True:
                self._connection.drain_events(timeout=timeout)
                if timeout and self._arrived:
                    return
        except TimeoutError:
            return

    def _on_message(self, message: Any) -> None:
        try:
            meta = self._backend.meta_from_decoded(message.decode())
            task_id = meta["task_id"]
        except Exception as exc:
            meta = failure_of(message, exc)
            task_id = meta["task_id"]
            if task_id is None:
                logger.exception("Dropped a message that is no result: %r", message.body)
                return
        if self._store.note(task_id, meta, len(message.body or b"")):
            self._arrived.append(meta)


class StateStore:
    """States that have arrived, in bounded memory: unclaimed ones whole, others the last.

    Threads other than the draining one look up last states, so it has a lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unclaimed: OrderedDict[str, list[Meta]] = OrderedDict()
        self._last: OrderedDict[str, tuple[Meta, int]] = OrderedDict()
        self._bytes = 0

    def note(self, task_id: str, meta: Meta, size: int) -> bool:
        """Remember the last state of a task; False for one that comes after a SUCCESS."""
        with self._lock:
            before = self._last.get(task_id)
            if before is not None and before[0]["status"] == states.SUCCESS:
                return False
            self._drop(task_id)
            self._last[task_id] = meta, size
            self._bytes += size
            while len(self._last) > MAX_CLAIMED or (
                self._bytes > MAX_CLAIMED_BYTES and len(self._last) > 1
            ):
                self._drop(next(iter(self._last)))
            return True

    def keep(self, meta: Meta) -> None:
        """Keep a state that nobody waits for."""
        with self._lock:
            kept = self._unclaimed.setdefault(meta["task_id"], [])
            kept.append(meta)
            del kept[:-MAX_STATES]
            self._unclaimed.move_to_end(meta["task_id"])
            while len(self._unclaimed) > MAX_UNCLAIMED:
                self._unclaimed.popitem(last=False)

    def claim(self, task_id: str) -> list[Meta]:
        """Return all states kept for a task, to somebody who waits for it."""
        with self._lock:
            kept = self._unclaimed.pop(task_id, None)
            if kept:
                return kept
            last = self._last.get(task_id)
            return [last[0]] if last is not None else []

    def last(self, task_id: str) -> Meta | None:
        """Return the last state of a task, if any has arrived."""
        with self._lock:
            kept = self._unclaimed.get(task_id)
            if kept:
                return kept[-1]
            last = self._last.get(task_id)
            return last[0] if last is not None else None

    def forget(self, task_id: str) -> None:
        """Forget a task."""
        with self._lock:
            self._unclaimed.pop(task_id, None)
            self._drop(task_id)

    def _drop(self, task_id: str) -> None:
        dropped = self._last.pop(task_id, None)
        if dropped is not None:
            self._bytes -= dropped[1]


def failure_of(message: Any, exc: Exception) -> Meta:
    """Return a meta that tells who waits for it that a result could not be read."""
    return {
        "task_id": message.properties.get("correlation_id"),
        "status": states.FAILURE,
        "result": exc,
        "traceback": None,
        "children": [],
    }


def watchable_socket(connection: Any) -> socket.socket | None:
    """Return the socket of an AMQP connection, None for transports that are not a socket."""
    transport = getattr(connection.connection, "transport", None)
    sock = getattr(transport, "sock", None)
    return sock if hasattr(sock, "fileno") else None


def wait_for_either(first: int, second: int, timeout: float) -> None:
    """Block until one of two descriptors is readable, at most `timeout` seconds."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(first, select.POLLIN)
        poller.register(second, select.POLLIN)
        poller.poll(timeout * 1000)
    else:
        select.select([first, second], [], [], timeout)


def close_descriptor(connection: Any) -> None:
    """Close this process's copy of a connection's socket, without a word to the other side."""
    amqp = connection._connection
    sock = watchable_socket(connection) if amqp is not None else None
    if sock is not None:
        # Not close(): the library would shut the connection down, which is the parent's.
        os.close(sock.detach())
