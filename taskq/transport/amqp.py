"""kombu's AMQP transport, which in an event loop reads and acknowledges many messages in one go.

Otherwise every frame costs several reads and as many switches of the socket's timeout, and every
message is three frames and one to acknowledge it. What is read ahead is handled in the same turn
of the loop, deliveries as a whole (`taskq.transport.deliveries`); acknowledgements are written
before the tasks are started that they belong to, and before the loop waits.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from errno import EAGAIN, EINTR
from socket import MSG_DONTWAIT
from typing import Any

from amqp import RecoverableConnectionError, spec
from amqp.transport import TCPTransport
from kombu.messaging import Consumer
from kombu.transport import pyamqp

from taskq.transport.confirming import ConfirmedBatches, Prepared
from taskq.transport.deliveries import HEAD, TAIL, Delivery, Message, next_delivery
from taskq.transport.ledger import Ledger

__all__ = ("Channel", "Connection", "Transport")

logger = logging.getLogger(__name__)

#: Bytes asked of the socket at once.
READ_SIZE = 32 * 1024

#: Bytes written at once of what is gathered.
WRITE_SIZE = 64 * 1024
#: Milliseconds that sent bytes may stay unacknowledged by the other machine, or it may be unable to
#: take more. py-amqp's second is too little for a broker that slows its publishers down: what it
#: has not read is lost with the connection.
UNANSWERED_LIMIT = 30_000

#: What kombu counts of a delivery to know that the connection lives.
FRAMES_OF_DELIVERY = 3
_DELIVER = spec.Basic.Deliver
#: Seconds for which the end of a process waits until the broker has read what was published.
LAST_WORDS = 5.0


class TurnBuffer(TCPTransport):
    """A socket that in an event loop is read ahead, and written to once in a turn.

    TLS has buffers of its own, and is left alone.
    """

    #: Whether more may be read than the frame at hand needs.
    reads_ahead = False
    #: The thread of the event loop, which is the only one whose acknowledgements are held.
    loop_thread: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._data, self._at = b"", 0
        super().__init__(*args, **kwargs)
        #: Channels with acknowledgements that wait.
        self._holding: list[Channel] = []
        self._lock = threading.Lock()
        #: What waits to be written in one go, None while nothing is gathered; and who gathers.
        self._gathered: bytearray | None = None
        self._gatherer: int | None = None

    @property
    def _read_buffer(self) -> bytes:
        """What was read and not handled yet, as py-amqp knows it."""
        return self._data[self._at :]

    @_read_buffer.setter
    def _read_buffer(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def hold_ack(self, channel: Channel, delivery_tag: int) -> bool:
        """Keep an acknowledgement for the next write; False if this thread's must not be."""
        if not self.reads_ahead or threading.get_ident() != self.loop_thread:
            return False
        with self._lock:
            if channel.ledger.hold(delivery_tag):
                self._holding.append(channel)
        return True

    def write(self, s: Any) -> None:
        """Write bytes, behind what was held. Raises OSError."""
        if self._gathered is not None and threading.get_ident() == self._gatherer:
            self._gathered += s
            if len(self._gathered) < WRITE_SIZE:
                return
            s, self._gathered = self._gathered, bytearray()
        if not self._holding:
            super().write(s)
            return
        # What one frame covers must not be acknowledged again by a thread that comes behind it.
        with self._lock:
            holding, self._holding = self._holding, []
            acks = [
                channel.ledger.frames(channel.channel_id)
                for channel in holding
                if channel.channel_id is not None  # None is a closed one
            ]
            super().write(b"".join((*acks, s)))

    def write_held(self) -> None:
        """Write what is held. Raises OSError."""
        if self._holding:
            self.write(b"")

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Write what this thread writes meanwhile in large pieces; nothing more on an error."""
        self._gathered, self._gatherer = bytearray(), threading.get_ident()
        try:
            yield
            gathered, self._gathered = self._gathered, None
            self.write(gathered)
        finally:
            self._gathered = None

    @property
    def has_frame(self) -> bool:
        """Whether a complete frame has been read already."""
        left = len(self._data) - self._at - HEAD - TAIL
        return left >= 0 and left >= int.from_bytes(self._data[self._at + 3 : self._at + 7], "big")

    def next_delivery(self) -> Delivery | None:
        """Return the delivery that comes next, if it has been read already and is a usual one.

        It stays in the buffer until it is `taken`.
        """
        return next_delivery(self._data, self._at)

    def taken(self, delivery: Delivery) -> None:
        """Go on behind a delivery."""
        self._at = delivery.end

    def read_more(self) -> None:
        """Read what has arrived, without waiting for anything. Raises OSError."""
        try:
            more = self.sock.recv(READ_SIZE, MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self.connected = False
            raise
        self._append(more)

    def _append(self, more: bytes) -> None:
        if not more:
            self.connected = False
            raise OSError("Server unexpectedly closed connection")
        self._read_buffer = self._read_buffer + more if self._at < len(self._data) else more

    def _read(self, n: int, initial: bool = False, _errnos: Any = (EAGAIN, EINTR)) -> bytes:
        """Return exactly n bytes. Raises TimeoutError when they are not there yet."""
        if not self.reads_ahead:
            exactly: bytes = super()._read(n, initial, _errnos)
            return exactly
        while len(self._data) - self._at < n:
            try:
                more = self._quick_recv(max(READ_SIZE, n - len(self._data) + self._at))
            except BlockingIOError as exc:
                raise TimeoutError("no complete frame yet") from exc
            self._append(more)
        start, self._at = self._at, self._at + n
        return self._data[start : self._at]


class Channel(pyamqp.Channel):
    """A channel whose acknowledgements may wait for the end of the loop's turn."""

    Message = Message

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        super().__init__(*args, **kwargs)

    def message_to_python(self, raw_message: Any) -> Any:
        """Return kombu's message for one of py-amqp, unless it is one already."""
        if isinstance(raw_message, Message):
            return raw_message
        return super().message_to_python(raw_message)

    def take(self, delivery: Delivery) -> bool:
        """Hand a delivery to its consumer; False if that is left to py-amqp.

        It is when somebody may expect a message of py-amqp, or none at all.
        """
        consume = self.callbacks.get(delivery.info["consumer_tag"])
        if (
            getattr(consume, "__func__", None) is not Consumer._receive_callback
            or self.is_closing
            or _DELIVER in self._pending
        ):
            return False
        self.connection.transport.taken(delivery)
        self._note(delivery.delivery_tag, delivery.info["consumer_tag"])
        consume(Message.delivered(delivery, self))
        return True

    def _note(self, delivery_tag: int, consumer_tag: str) -> None:
        self.ledger.delivered(delivery_tag, to_settle=consumer_tag not in self.no_ack_consumers)

    def _on_basic_deliver(
        self, consumer_tag: str, delivery_tag: int, redelivered: bool, *args: Any
    ) -> None:
        self._note(delivery_tag, consumer_tag)
        super()._on_basic_deliver(consumer_tag, delivery_tag, redelivered, *args)

    def basic_get(self, queue: str = "", no_ack: bool = False, argsig: str = "Bsb") -> Any:
        """Return the next message of a queue, None if there is none."""
        message = super().basic_get(queue, no_ack, argsig)
        if message is not None:
            self.ledger.delivered(message.delivery_info["delivery_tag"], to_settle=not no_ack)
        return message

    def basic_ack(self, delivery_tag: int, multiple: bool = False, argsig: str = "Lb") -> Any:
        """Acknowledge a message, or all up to it."""
        transport = getattr(self.connection, "open_transport", None)
        if (
            not multiple
            and isinstance(transport, TurnBuffer)
            and transport.hold_ack(self, delivery_tag)
        ):
            return None
        answer = super().basic_ack(delivery_tag, multiple, argsig)
        self.ledger.settled(delivery_tag, multiple=multiple)
        return answer

    def basic_reject(self, delivery_tag: int, requeue: bool, argsig: str = "Lb") -> Any:
        """Reject a message, for the broker to throw away or to deliver again."""
        answer = super().basic_reject(delivery_tag, requeue, argsig)
        self.ledger.settled(delivery_tag)
        return answer

    def basic_recover(self, requeue: bool = False) -> Any:
        """Have all messages delivered again that are not acknowledged."""
        answer = super().basic_recover(requeue)
        self.ledger.settled(0, multiple=True)
        return answer

    def basic_publish_many(self, messages: list[Prepared]) -> None:
        """Publish (message, exchange, routing key) tuples; return when the broker has stored all.

        What it has stored is removed from the list, also if this raises. A single one is published
        as by `basic_publish`.
        """
        if self.connection is None:
            raise RecoverableConnectionError("basic_publish_many: connection closed")
        self.connection.publish_many(self, messages)

    def write_acks(self) -> None:
        """Write the acknowledgements that wait. Raises OSError."""
        transport = getattr(self.connection, "open_transport", None)
        if isinstance(transport, TurnBuffer):
            transport.write_held()


class Connection(pyamqp.Connection):
    """An AMQP connection whose frames are taken from what was read ahead, if there are any."""

    Channel = Channel
    #: The process that has opened it.
    pid: int | None = None
    _batches: ConfirmedBatches | None = None

    def connect(self, callback: Any = None) -> Any:
        """Open the connection. Raises OSError and AMQP errors."""
        opened = super().connect(callback)
        self.pid = os.getpid()
        _opened.add(self)
        return opened

    @property
    def open_transport(self) -> Any:
        """What talks to the socket, None when it is closed; asking for ``transport`` opens one."""
        return self._transport

    def Transport(  # noqa: N802 - py-amqp's name
        self,
        host: str,
        connect_timeout: Any,
        ssl: Any = False,
        read_timeout: Any = None,
        write_timeout: Any = None,
        **options: Any,
    ) -> Any:
        """Return what talks to the broker's socket."""
        options.update(read_timeout=read_timeout, write_timeout=write_timeout)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            settings = options.get("socket_settings") or {}
            options["socket_settings"] = {socket.TCP_USER_TIMEOUT: UNANSWERED_LIMIT, **settings}
        if ssl:
            return super().Transport(host, connect_timeout, ssl, **options)
        return TurnBuffer(host, connect_timeout=connect_timeout, **options)

    def publish_many(self, channel: Any, messages: list[Prepared]) -> None:
        """Do what `Channel.basic_publish_many` says, for one of this connection's channels."""
        capabilities = (self.server_properties or {}).get("capabilities") or {}
        if len(messages) == 1 or not capabilities.get("publisher_confirms"):
            while messages:
                message, exchange, routing_key = messages[0]
                channel.basic_publish(message, exchange, routing_key)
                del messages[0]
            return
        if self._batches is None:
            self._batches = ConfirmedBatches(self)
        self._batches.publish(messages)

    def gathering_writes(self) -> AbstractContextManager[None]:
        """Have what this thread writes meanwhile written in large pieces, if that is possible."""
        transport = self.open_transport
        return transport.gathering() if isinstance(transport, TurnBuffer) else nullcontext()

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Handle the next frame, waiting for it so many seconds."""
        transport = self.open_transport
        if getattr(transport, "reads_ahead", False) and transport.has_frame:
            return self.on_inbound_frame(transport.read_frame())
        return super().blocking_read(timeout)

    def handle_read(self) -> None:
        """Handle all complete frames that have been read. Raises what their handlers raise."""
        while (transport := self.open_transport) is not None:
            delivery = transport.next_delivery()
            channel = self.channels.get(delivery.channel) if delivery is not None else None
            if channel is not None and channel.take(delivery):
                self.bytes_recv += FRAMES_OF_DELIVERY
            elif transport.has_frame:
                self.on_inbound_frame(transport.read_frame())
            else:
                return

    def close_at_exit(self, patience: float) -> None:
        """Tell the broker that this is the end, and wait until it has read all that was sent.

        It throws away what it has not handled yet of a connection that just ends. Consumers are no
        longer there for what would arrive meanwhile.

        - patience: seconds to wait.
        """
        if self.pid != os.getpid() or not self.connected:
            return
        if any(getattr(channel, "callbacks", None) for channel in self.channels.values()):
            return
        try:
            self.sock.settimeout(max(patience, 0.1))
            self.close()
        except Exception as exc:
            logger.debug("Could not close a connection at the end of the process: %r", exc)


_opened: weakref.WeakSet[Connection] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    deadline = time.monotonic() + LAST_WORDS
    for connection in list(_opened):
        connection.close_at_exit(deadline - time.monotonic())


class Transport(pyamqp.Transport):
    """``amqp:// amqps:// pyamqp://``."""

    Connection = Connection

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have kombu's hub drive the connection, and read ahead from now on."""
        super().register_with_event_loop(connection, loop)
        if not isinstance(connection.transport, TurnBuffer):
            return
        connection.transport.loop_thread = threading.get_ident()
        connection.transport.reads_ahead = True

        def in_every_turn() -> None:
            # A wait for the broker's answer may have read what came behind it.
            if not connection.connected:
                loop.on_tick.discard(in_every_turn)
                return
            connection.handle_read()
            if connection.open_transport is not None:
                connection.open_transport.write_held()

        loop.on_tick.add(in_every_turn)

    def on_readable(self, connection: Any, loop: Any) -> None:
        """Read what has arrived, and handle it."""
        if not connection.connected:
            raise RecoverableConnectionError("Socket was disconnected")
        transport = connection.open_transport
        if not isinstance(transport, TurnBuffer):
            super().on_readable(connection, loop)
            return
        transport.read_more()
        connection.handle_read()
