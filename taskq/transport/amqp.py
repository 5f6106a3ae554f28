"""kombu's AMQP transport, which in an event loop reads and acknowledges many messages in one go.

Otherwise every frame costs several reads and as many switches of the socket's timeout, and every
message is three frames and one to acknowledge it. What is read ahead is handled in the same turn
of the loop; acknowledgements are written before the tasks are started that they belong to, and
before the loop waits.
"""

from __future__ import annotations

import struct
import threading
from errno import EAGAIN, EINTR
from typing import Any

from amqp.transport import TCPTransport
from kombu.transport import pyamqp

__all__ = ("Channel", "Connection", "Transport")

#: Bytes asked of the socket at once.
READ_SIZE = 16 * 1024
#: Bytes of a frame before and behind its payload, and where the payload's size is.
_HEAD, _TAIL, _SIZE = 7, 1, slice(3, 7)


#: A frame with the method basic.ack: type, channel, size, class, method, tag, multiple, end.
_ACK = struct.Struct(">BHIHHQBB")


class TurnBuffer(TCPTransport):
    """A socket that in an event loop is read ahead, and written to once in a turn.

    TLS has buffers of its own, and is left alone.
    """

    #: Whether more may be read than the frame at hand needs.
    reads_ahead = False
    #: The thread of the event loop, which is the only one whose acknowledgements are held.
    loop_thread: int | None = None
    _read_buffer: bytes

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held: list[bytes] = []
        self._lock = threading.Lock()

    def hold_ack(self, channel_id: int, delivery_tag: int, *, multiple: bool) -> bool:
        """Keep an acknowledgement for the next write; False if this thread's must not be."""
        if not self.reads_ahead or threading.get_ident() != self.loop_thread:
            return False
        with self._lock:
            self._held.append(_ACK.pack(1, channel_id, 13, 60, 80, delivery_tag, multiple, 0xCE))
        return True

    def write(self, s: Any) -> None:
        """Write bytes, behind what was held. Raises OSError."""
        if self._held:
            with self._lock:
                held, self._held = self._held, []
            s = b"".join((*held, s))
        super().write(s)

    def write_held(self) -> None:
        """Write what is held. Raises OSError."""
        if self._held:
            self.write(b"")

    @property
    def has_frame(self) -> bool:
        """Whether a complete frame has been read already."""
        data = self._read_buffer
        return len(data) >= _HEAD + _TAIL and len(data) >= _HEAD + _TAIL + int.from_bytes(
            data[_SIZE], "big"
        )

    def _read(self, n: int, initial: bool = False, _errnos: Any = (EAGAIN, EINTR)) -> bytes:
        """Return exactly n bytes. Raises TimeoutError when they are not there yet."""
        if not self.reads_ahead:
            exactly: bytes = super()._read(n, initial, _errnos)
            return exactly
        data: bytes = self._read_buffer
        while len(data) < n:
            try:
                more = self._quick_recv(max(READ_SIZE, n - len(data)))
            except BlockingIOError as exc:
                raise TimeoutError("no complete frame yet") from exc
            if not more:
                raise OSError("Server unexpectedly closed connection")
            data = self._read_buffer = data + more
        self._read_buffer = data[n:]
        return data[:n]


class Channel(pyamqp.Channel):
    """A channel whose acknowledgements may wait for the end of the loop's turn."""

    def basic_ack(self, delivery_tag: int, multiple: bool = False, argsig: str = "Lb") -> Any:
        """Acknowledge a message."""
        transport = getattr(self.connection, "transport", None)
        if not isinstance(transport, TurnBuffer) or not transport.hold_ack(
            self.channel_id, delivery_tag, multiple=multiple
        ):
            return super().basic_ack(delivery_tag, multiple, argsig)
        return None

    def write_acks(self) -> None:
        """Write the acknowledgements that wait. Raises OSError."""
        transport = getattr(self.connection, "transport", None)
        if isinstance(transport, TurnBuffer):
            transport.write_held()


class Connection(pyamqp.Connection):
    """An AMQP connection whose frames are taken from what was read ahead, if there are any."""

    Channel = Channel

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
        if ssl:
            return super().Transport(host, connect_timeout, ssl, **options)
        return TurnBuffer(host, connect_timeout=connect_timeout, **options)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Handle the next frame, waiting for it so many seconds."""
        transport = self.transport
        if getattr(transport, "reads_ahead", False) and transport.has_frame:
            return self.on_inbound_frame(transport.read_frame())
        return super().blocking_read(timeout)


class Transport(pyamqp.Transport):
    """``amqp:// amqps:// pyamqp://``."""

    Connection = Connection

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have kombu's hub drive the connection, and read ahead from now on."""
        super().register_with_event_loop(connection, loop)
        if isinstance(connection.transport, TurnBuffer):
            connection.transport.loop_thread = threading.get_ident()
            connection.transport.reads_ahead = True

            def in_every_turn() -> None:
                # A wait for the broker's answer may have read what came behind it.
                transport = connection.transport
                if transport is None or not connection.connected:
                    loop.on_tick.discard(in_every_turn)
                    return
                try:
                    while transport.has_frame:
                        connection.drain_events(timeout=0)
                except TimeoutError:
                    pass  # the rest of a message is still on its way
                transport.write_held()

            loop.on_tick.add(in_every_turn)
