"""A TCP proxy that tests cut, pause and restore: the network between a worker and its broker."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Proxy:
    """Forwards connections on a port of its own to a server.

    - target: host and port of the server.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        #: What clients have sent, piece by piece, while it is kept.
        self.sent: list[bytes] | None = None
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()
        self._accepting = True
        #: Sockets whose data is thrown away.
        self._dead: set[socket.socket] = set()
        self._delay = 0.0
        self._muted = False
        #: What a client says, whose connection breaks with the answer.
        self._fatal: bytes | None = None
        self._doomed: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._accepting:
                client.close()
                continue
            try:
                server = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.update((client, server))
            for source, sink in ((client, server), (server, client)):
                pump = threading.Thread(
                    target=self._pump, args=(source, sink, source is client), daemon=True
                )
                pump.start()

    def _pump(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                if self._delay:
                    time.sleep(self._delay)
                if source in self._dead:
                    continue
                if from_client and self.sent is not None:
                    self.sent.append(data)
                if source in self._doomed:
                    return
                if from_client and self._fatal is not None and self._fatal in data:
                    self._fatal = None
                    self._doomed.add(sink)
                if not (from_client and self._muted):
                    sink.sendall(data)
        except OSError:
            pass  # cut
        finally:
            self._drop(source, sink)

    def _drop(self, *sockets: socket.socket) -> None:
        for sock in sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            with self._lock:
                self._pairs.discard(sock)

    def cut(self) -> int:
        """Break every connection; new ones are let through. Returns how many were broken."""
        with self._lock:
            pairs = list(self._pairs)
        self._drop(*pairs)
        return len(pairs) // 2

    def lose_answer(self, to: bytes) -> None:
        """Break the next connection on which a client says this, instead of giving the answer."""
        self._fatal = to

    @property
    def has_lost_answer(self) -> bool:
        """Whether that has happened."""
        return self._fatal is None

    def mute(self) -> None:
        """Lose what clients send from now on; what the server sends still arrives."""
        self._muted = True

    def unmute(self) -> None:
        """Let what clients send pass again: on new connections, the old ones make no sense."""
        self.cut()
        self._muted = False

    def kill_silently(self) -> None:
        """Have every connection be half-open: neither end hears of the other, or of its end."""
        with self._lock:
            self._dead.update(self._pairs)

    def slow(self, seconds: float) -> None:
        """Have every piece of data wait for so many seconds, one after the other."""
        self._delay = seconds

    def refuse(self) -> None:
        """Break every connection and refuse new ones, as a broker that is down."""
        self._accepting = False
        self.cut()

    def accept(self) -> None:
        """Let connections through again."""
        self._accepting = True

    def hold(self) -> None:
        """Let nothing pass, without breaking anything."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def close(self) -> None:
        """End it all."""
        self._listener.close()
        self._open.set()
        self.cut()
