"""A connection that the coroutines of one event loop share: many commands under way at a time.

redis-py makes and authenticates it as it makes any other, which blocks and so happens in a thread.
From then on the loop itself writes to its socket and reads from it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions

from taskq.transport.redis import errors
from taskq.transport.redis.resp import ErrorReply, ProtocolError, Push
from taskq.transport.redis.wire import IDLE_CHECK, RECEIVE_SIZE, Wire, readable
from taskq.utils.inthread import call_in_thread

__all__ = ("LoopWire",)

#: What a socket raises that has nothing to read, or no room to write, just now.
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


#: Takes the replies to commands, errors of the server among them; or None, when the connection
#: broke, and the reason.
OnReplies = Callable[[list[Any] | None, Exception | None], None]
#: The one who waits for replies, the number of these, and the monotonic time of the question.
_Awaited = tuple[OnReplies, int, float]


class LoopWire:
    """A connection that coroutines of one loop send on, all in the loop's thread.

    1. `open` connects, in a thread, unless there is a connection.
    2. `ask` has commands written, whole and in the order of the calls: at once where nobody waits
       for a reply, else at the end of the loop's turn with what others send in it.
    3. Replies come in the same order. Who was cancelled meanwhile leaves the command as it is, and
       its reply is dropped.
    4. When the connection breaks, everybody who waits is told, and the next `open` makes a new one.

    - wire: the connection, not open yet; nobody else uses it.
    - greeting: a packed command to begin each connection with.
    """

    def __init__(self, wire: Wire, *, greeting: bytes | None = None) -> None:
        self._wire = wire
        wire.on_close = self._closing
        #: Takes the pushed messages.
        self.on_push: Callable[[Push], None] | None = None
        #: Told when an open connection breaks, with the error.
        self.on_lost: Callable[[Exception], None] | None = None
        self._greeting = greeting
        #: Returns the one that watches the socket; None while there is no connection. Weak, as
        #: many a loop ends without a word.
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._opening: asyncio.Future[None] | None = None
        #: Seconds to wait for a reply, None for ever: redis-py's ``socket_timeout``.
        self._timeout: float | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._awaited: deque[_Awaited] = deque()
        #: Those of the replies to the first of them that have come.
        self._replies: list[Any] = []
        self._unsent = bytearray()
        #: The end of this turn, or room in the socket, will have what is unsent written.
        self._flushes = self._writes = False
        #: Why the connection is being closed.
        self._error: Exception | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether commands can be sent, as far as is known."""
        # In a forked child the connection is gone, and the loop is that of the parent.
        return self._loop is not None and self._wire.connected

    def check(self) -> bool:
        """Tell whether commands can be sent; after a while of silence, have a look at the socket.

        The loop may not have run meanwhile, and so not seen that the server closed it.
        """
        wire = self._wire
        if self._loop is None or wire.sock is None:
            return False
        now = time.monotonic()
        if now - wire.last_used <= IDLE_CHECK:
            return True
        wire.last_used = now
        if readable(wire.sock):
            self._on_readable()
        return self.is_open

    async def open(self) -> None:
        """Connect if there is no connection; who comes meanwhile waits for the same one.

        Raises one of redis-py's errors when that fails, and NotImplementedError on a loop that
        can't watch sockets which others have made.
        """
        if self.check():
            return
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
            self._opening.add_done_callback(_take_note)
        await asyncio.shield(self._opening)

    async def _open(self) -> None:
        try:
            await call_in_thread(self._connect)
            self._attach()
        finally:
            self._opening = None

    def _connect(self) -> None:
        """Connect and greet the server, in a thread."""
        self._wire.open()
        if self._greeting is not None:
            self._wire.call(self._greeting)

    def _attach(self) -> None:
        """Have the running loop read from the connection that was made."""
        sock, loop = self._wire.sock, asyncio.get_running_loop()
        if sock is None:
            raise errors.lost(self._wire.url)
        self._timeout = sock.gettimeout()
        sock.setblocking(False)
        try:
            loop.add_reader(sock.fileno(), self._on_readable)
        except NotImplementedError:
            self._wire.close()
            raise
        self._loop = weakref.ref(loop)

    def ask(self, commands: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Have packed commands written; return what becomes the list of their replies.

        What becomes of it raises the first error among them, or in the reply to an EXEC at the
        end; ConnectionError or TimeoutError when the connection breaks.

        Raises ConnectionError when it is not open.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def settle(replies: list[Any] | None, error: Exception | None) -> None:
            if future.done():
                return  # cancelled
            if replies is None:
                assert error is not None
                future.set_exception(error)
                return
            for reply in (*replies, *replies[-1]) if type(replies[-1]) is list else replies:
                if isinstance(reply, ErrorReply):
                    future.set_exception(self._wire.error(reply))
                    return
            future.set_result(replies)

        self.send(commands, count, settle)
        return future

    def send(self, commands: bytes, count: int, on_replies: OnReplies) -> None:
        """Have packed commands written, and a function called with so many replies.

        Raises ConnectionError when the connection is not open.
        """
        wire = self._wire
        if self._loop is None or wire.sock is None:
            raise errors.lost(wire.url)
        wire.last_used = now = time.monotonic()
        alone = not self._awaited
        self._awaited.append((on_replies, count, now))
        if self._timeout is not None and self._watchdog is None:
            loop = asyncio.get_running_loop()
            self._watchdog = loop.call_later(self._timeout, self._look_for_delay)
        self._unsent += commands
        if alone and not self._writes:
            self._flush()
        else:
            self._flush_soon(asyncio.get_running_loop())

    def send_unanswered(self, commands: bytes) -> None:
        """Have packed commands written in this turn that have no replies."""
        if self.is_open:
            self._wire.last_used = time.monotonic()
            self._unsent += commands
            self._flush_soon(asyncio.get_running_loop())

    def close(self) -> None:
        """Close the connection, if any; who waits for a reply gets an error."""
        self._wire.close()

    # -- in the loop

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._flushes and not self._writes:
            self._flushes = True
            loop.call_soon(self._flush)

    def _look_for_delay(self) -> None:
        """Give the connection up when somebody has waited for too long."""
        self._watchdog = None
        if not self._awaited or self._timeout is None:
            return
        left = self._awaited[0][2] + self._timeout - time.monotonic()
        if left > 0:
            self._watchdog = asyncio.get_running_loop().call_later(left, self._look_for_delay)
        else:
            self._lose(exceptions.TimeoutError(f"Timeout while waiting for {self._wire.url}"))

    def _flush(self) -> None:
        """Write as much as there is room for; the rest when there is more."""
        self._flushes = False
        sock = self._wire.sock
        if sock is None or not self._unsent:
            return
        try:
            sent = sock.send(self._unsent)
        except _NOT_NOW:
            sent = 0
        except Exception as exc:
            self._lose(errors.lost(self._wire.url, exc))
            return
        del self._unsent[:sent]
        if bool(self._unsent) is self._writes:
            return
        self._writes = not self._writes
        loop = asyncio.get_running_loop()
        if self._writes:
            loop.add_writer(sock.fileno(), self._flush)
        else:
            loop.remove_writer(sock.fileno())

    def _on_readable(self) -> None:
        sock = self._wire.sock
        try:
            data = sock.recv(RECEIVE_SIZE)
            # TLS may hold decrypted bytes back that the loop would not be told of.
            pending = getattr(sock, "pending", None)
            while data and pending is not None and pending():
                data += sock.recv(RECEIVE_SIZE)
        except _NOT_NOW:
            return
        except Exception as exc:
            self._lose(errors.lost(self._wire.url, exc))
            return
        if not data:
            self._lose(errors.lost(self._wire.url))
            return
        try:
            self._take_in(self._wire.feed(data))
        except Exception as exc:
            self._lose(errors.lost(self._wire.url, exc))

    def _take_in(self, replies: Sequence[Any]) -> None:
        for reply in replies:
            if self._loop is None:
                return  # what came before has ended the connection
            if isinstance(reply, Push):
                if self.on_push is not None:
                    self.on_push(reply)
                continue
            if not self._awaited:
                raise ProtocolError(f"a reply that nobody asked for: {reply!r}")
            on_replies, expected, _ = self._awaited[0]
            self._replies.append(reply)
            if len(self._replies) == expected:
                self._awaited.popleft()
                complete, self._replies = self._replies, []
                on_replies(complete, None)

    def _lose(self, error: Exception) -> None:
        """Close a connection that is of no use any more, and say why."""
        self._error = error
        self._wire.close()
        self._error = None
        if self.on_lost is not None:
            self.on_lost(error)

    def _closing(self) -> None:
        """Let go of the socket, which is about to be closed, and tell those who wait."""
        loop = self._loop() if self._loop is not None else None
        self._loop = None
        if loop is not None and not loop.is_closed():
            fileno = self._wire.sock.fileno()
            loop.remove_reader(fileno)
            loop.remove_writer(fileno)
        self._unsent.clear()
        self._flushes = self._writes = False
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        error = self._error or errors.lost(self._wire.url)
        awaited, self._awaited = self._awaited, deque()
        self._replies.clear()
        if loop is not None and not loop.is_closed():
            for on_replies, _, _ in awaited:
                on_replies(None, error)


def _take_note(opening: asyncio.Future[None]) -> None:
    """See to it that an error is not reported as unseen when all who waited were cancelled."""
    if not opening.cancelled():
        opening.exception()
