"""A connection held for one purpose: packed commands go out, parsed replies come in.

Publishing, claiming and the lease keeper each hold one. redis-py makes and authenticates the
connection (TCP, TLS, unix socket, sentinel); from then on its socket is used directly.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis import errors
from taskq.transport.redis.resp import ErrorReply, Push, Reader

logger = get_logger(__name__)

#: Bytes asked of the socket at once.
RECEIVE_SIZE = 65536
#: Seconds a connection may be unused before it is looked at for a close by the server.
IDLE_CHECK = 1.0
#: Milliseconds that sent bytes may stay unacknowledged by the other machine.
UNANSWERED_LIMIT = 30_000

_wires: weakref.WeakSet[Wire] = weakref.WeakSet()


class Wire:
    """One held connection; made lazily, made anew after it broke.

    Not thread-safe: who shares one holds its `lock` while it waits for replies.

    - connect: returns a new, unconnected redis-py connection.
    - url: the server's URL for messages, password masked.
    - patience: seconds to wait for a reply, if the connection itself does not wait less; None for
      as long as it takes.
    """

    __slots__ = (
        "__weakref__",
        "_connect",
        "_connection",
        "_posted",
        "_reader",
        "last_used",
        "lock",
        "on_close",
        "on_push",
        "patience",
        "sock",
        "url",
    )

    def __init__(
        self, connect: Callable[[], Any], url: str, *, patience: float | None = None
    ) -> None:
        self._connect = connect
        self.url = url
        self.patience = patience
        self.lock = threading.RLock()
        #: Takes the pushed messages that arrive while `call` waits for a reply.
        self.on_push: Callable[[Push], None] | None = None
        #: Called before an open connection is closed, while its descriptor is still ours.
        self.on_close: Callable[[], None] | None = None
        self._connection: Any = None
        #: The socket to poll, None when not connected.
        self.sock: Any = None
        self._reader = Reader()
        #: Commands whose replies nobody has read.
        self._posted: list[bytes] = []
        #: Monotonic time of the last command.
        self.last_used = 0.0
        _wires.add(self)

    @property
    def connected(self) -> bool:
        """Tell whether there is a connection, as far as is known."""
        return self.sock is not None

    def open(self) -> None:
        """Connect if there is no connection. Raises one of redis-py's errors when that fails."""
        if self.sock is not None:
            return
        connection = self._connect()
        try:
            connection.connect()
        except exceptions.RedisError as exc:
            connection.disconnect()
            raise errors.explain(exc, self.url) from exc
        self._connection = connection
        self.sock = connection._sock
        self._reader = Reader()
        self.last_used = time.monotonic()
        _notice_dead_peer(self.sock)
        if self.patience is not None:
            self.sock.settimeout(min(self.sock.gettimeout() or self.patience, self.patience))

    def reopen_if_closed(self) -> bool:
        """Connect anew when the server has closed the connection while nobody used it.

        Returns whether the connection is a new one.
        """
        if self._posted:
            self._settle()
        idle = self.sock is not None and time.monotonic() - self.last_used > IDLE_CHECK
        if idle and readable(self.sock):
            # Nobody waits for a reply: what can be read is the end of the connection.
            self.close()
        if self.sock is not None:
            return False
        self.open()
        return True

    def send(self, data: bytes) -> None:
        """Write commands. Raises ConnectionError or TimeoutError; the connection is closed then."""
        if self._posted:
            self._settle()
        sock = self.sock
        if sock is None:
            raise errors.lost(self.url)
        try:
            sock.sendall(data)
        except Exception as exc:
            raise self._broken(exc) from exc
        except BaseException:
            self.close()  # half a command may be written: an interrupt or a time limit
            raise
        self.last_used = time.monotonic()

    def post(self, commands: list[bytes]) -> None:
        """Write commands, connecting if need be; their replies are read before the next ones.

        If the connection breaks meanwhile they are written again to the next. Raises redis-py's
        errors of the network, and the server's for what was posted before.
        """
        refused = self._read_posted()
        if refused is not None:
            raise self.error(refused)
        self.reopen_if_closed()
        self.send(b"".join(commands))
        self._posted = commands

    def _settle(self) -> None:
        """Read the replies of what was posted, before other commands are written."""
        refused = self._read_posted()
        if refused is not None:
            logger.warning("%s refused what was sent before: %s", self.url, refused)

    def _read_posted(self) -> ErrorReply | None:
        """Read the replies of what was posted; return the first error among them.

        Raises ConnectionError or TimeoutError when the connection is broken and there is no other.
        """
        if not self._posted:
            return None
        posted, self._posted = self._posted, []
        try:
            replies = self.replies(len(posted))
        except (exceptions.ConnectionError, exceptions.TimeoutError):
            try:
                self.open()
                self.send(b"".join(posted))
            finally:
                self._posted = posted
            return None
        refused = [reply for reply in replies if isinstance(reply, ErrorReply)]
        return refused[0] if refused else None

    def receive(self) -> list[Any]:
        """Read once, waiting for bytes if there are none, and return the complete replies.

        Raises ConnectionError or TimeoutError; the connection is closed then.
        """
        sock = self.sock
        if sock is None:
            raise errors.lost(self.url)
        try:
            data = sock.recv(RECEIVE_SIZE)
            # TLS may hold decrypted bytes back that no poll of the socket would show.
            pending = getattr(sock, "pending", None)
            while data and pending is not None and pending():
                data += sock.recv(RECEIVE_SIZE)
        except Exception as exc:
            raise self._broken(exc) from exc
        except BaseException:
            self.close()  # the reply may still come, and would be taken for the next one
            raise
        if not data:
            self.close()
            raise errors.lost(self.url)
        try:
            return list(self._reader.feed(data))
        except Exception as exc:
            raise self._broken(exc) from exc

    def feed(self, data: bytes) -> list[Any]:
        """Return the replies that are complete with these bytes, which another has received."""
        return list(self._reader.feed(data))

    def call(self, data: bytes) -> Any:
        """Write one command, wait for its reply and return it. Raises the server's error."""
        return self.call_many(data, 1)[0]

    def call_many(self, data: bytes, count: int) -> list[Any]:
        """Write *count* commands and return their replies. Raises the first error among them."""
        self.send(data)
        replies = self.replies(count)
        for reply in replies:
            if isinstance(reply, ErrorReply):
                raise self.error(reply)
        return replies

    def replies(self, count: int) -> list[Any]:
        """Wait for the replies of *count* commands that were sent; errors are among them."""
        replies: list[Any] = []
        while len(replies) < count:
            for reply in self.receive():
                if not isinstance(reply, Push):
                    replies.append(reply)
                elif self.on_push is not None:
                    self.on_push(reply)
        return replies

    def error(self, reply: ErrorReply) -> exceptions.RedisError:
        """Return the exception for an error reply; closes the connection if it is of no use."""
        error = errors.from_reply(reply, self.url)
        if isinstance(error, exceptions.ConnectionError):
            self.close()
        return error

    def close(self) -> None:
        """Close the connection, if any."""
        connection = self._connection
        if connection is not None:
            if self.on_close is not None:
                self.on_close()
            self._connection = self.sock = None
            connection.disconnect()

    def forget(self) -> None:
        """Let go of a connection of the parent process, without a word to the server."""
        sock, self.sock, self._connection = self.sock, None, None
        self._posted = []  # the parent's
        self.lock = threading.RLock()  # another thread of the parent may have held the old one
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def _broken(self, cause: Exception) -> exceptions.RedisError:
        """Close the connection, whose state is unknown now; return what to raise."""
        self.close()
        if isinstance(cause, TimeoutError):
            return exceptions.TimeoutError(f"Timeout while waiting for {self.url}")
        return errors.lost(self.url, cause)


def readable(sock: Any) -> bool:
    """Tell whether there is something to read from a socket, if only its end."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        return bool(poller.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _notice_dead_peer(sock: Any) -> None:
    """Have the kernel break the connection when the other machine is gone without a word."""
    if getattr(sock, "family", None) not in {socket.AF_INET, socket.AF_INET6}:
        return
    options = []
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):  # else: the user's choice
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_LIMIT))
    for level, option, value in options:
        with contextlib.suppress(OSError):
            sock.setsockopt(level, option, value)


def _forget_all() -> None:
    for wire in list(_wires):
        wire.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
