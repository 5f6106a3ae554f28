"""Tells whether the worker lives and is ready: a file that is touched, and a port for HTTP probes.

A step of the worker (``--health-file``, ``--health-port``). A thread of its own answers, so that a
loop that has stopped turning is told as dead, not waited for. Imports no app and asks no broker:
a worker whose broker is away lives, and is not ready.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Any

from taskq.utils.log import get_logger
from taskq.worker.liveness import INTERVAL, LivenessStep

__all__ = ("HealthProbe",)

logger = get_logger("celery.worker")

#: Seconds that a client may take to send its request, which is read up to so many bytes.
REQUEST_TIMEOUT, REQUEST_SIZE = 1.0, 4096

#: Sockets that listen, closed in forked children: the port must be free once the worker has gone.
_listening: set[socket.socket] = set()


def _close_in_child() -> None:
    for sock in _listening:
        sock.close()
    _listening.clear()


os.register_at_fork(after_in_child=_close_in_child)


class HealthProbe(LivenessStep):
    """Answers probes while the worker runs."""

    label = "Health"

    def __init__(
        self,
        w: Any,
        health_file: str | None = None,
        health_port: int | None = None,
        health_host: str | None = None,
        health_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.enabled = bool(health_file or health_port is not None)
        self.path = Path(health_file) if health_file else None
        self.address = (health_host or "", health_port) if health_port is not None else None
        if health_timeout is not None:
            self.stuck_after = health_timeout
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        super().__init__(w, **kwargs)

    def start(self, w: Any) -> None:
        """Begin to answer. Raises OSError where the port is taken or the file is not writable."""
        if self.path is not None:
            self._touch()
        if self.address is not None:
            self._socket = socket.create_server(self.address, backlog=16)
            self._socket.settimeout(INTERVAL)
            _listening.add(self._socket)
            logger.info("Health: listening on port %s", self._socket.getsockname()[1])
        threading.Thread(target=self._serve, name="taskq-health", daemon=True).start()

    def stop(self, w: Any) -> None:
        """Answer no more, and remove the file."""
        self._stopped.set()
        if self._socket is not None:
            _listening.discard(self._socket)
            self._socket.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def terminate(self, parent: Any) -> None:
        """As `stop`."""
        self.stop(parent)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            if self.path is not None and self.live():
                self._touch()
            if self._socket is None:
                self._stopped.wait(INTERVAL)
                continue
            try:
                client, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return  # closed: the worker stops
            with client:
                try:
                    self._answer(client)
                except OSError:
                    continue  # the client has gone

    def _touch(self) -> None:
        assert self.path is not None
        self.path.touch()

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(REQUEST_TIMEOUT)
        words = client.recv(REQUEST_SIZE).split(b" ", 2)
        path = words[1].partition(b"?")[0] if len(words) > 1 else b""
        checks = {b"/livez": self.live, b"/readyz": self.ready}
        if path not in checks:
            client.sendall(_response("404 Not Found", "/livez or /readyz\n"))
        elif checks[path]():
            client.sendall(_response("200 OK", "ok\n"))
        else:
            client.sendall(_response("503 Service Unavailable", "no\n"))


def _response(status: str, body: str) -> bytes:
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()
