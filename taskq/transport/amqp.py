"""kombu's AMQP transport, which in an event loop reads what has come in one go.

Otherwise every frame costs several reads and as many switches of the socket's timeout, and every
message is three frames. What is read ahead is handled in the same turn of the loop.
"""

from __future__ import annotations

from errno import EAGAIN, EINTR
from typing import Any

from amqp.transport import TCPTransport
from kombu.transport import pyamqp

__all__ = ("Connection", "Transport")

#: Bytes asked of the socket at once.
READ_SIZE = 16 * 1024
#: Bytes of a frame before and behind its payload, and where the payload's size is.
_HEAD, _TAIL, _SIZE = 7, 1, slice(3, 7)


class ReadingAhead(TCPTransport):
    """A socket that is read ahead when told to; TLS has buffers of its own."""

    #: Whether more may be read than the frame at hand needs.
    reads_ahead = False
    _read_buffer: bytes

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


class Connection(pyamqp.Connection):
    """An AMQP connection whose frames are taken from what was read ahead, if there are any."""

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
        return ReadingAhead(host, connect_timeout=connect_timeout, **options)

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
        if isinstance(connection.transport, ReadingAhead):
            connection.transport.reads_ahead = True

            def handle_read_ahead() -> None:
                # A wait for the broker's answer may have read what came behind it.
                transport = connection.transport
                if transport is None or not connection.connected:
                    loop.on_tick.discard(handle_read_ahead)
                    return
                try:
                    while transport.has_frame:
                        connection.drain_events(timeout=0)
                except TimeoutError:
                    pass  # the rest of a message is still on its way

            loop.on_tick.add(handle_read_ahead)
