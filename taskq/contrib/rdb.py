"""A debugger inside a task or worker, reached over TCP, as ``pdb`` needs a terminal.

``from taskq.contrib import rdb; rdb.set_trace()`` in a task, then ``telnet 127.0.0.1 6899``
(or ``nc``). A worker opens it on SIGUSR2 where ``TASKQ_RDBSIG`` is set. Whoever reaches the port
can run any code: it listens on this machine only unless ``TASKQ_RDB_HOST`` says otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pdb import Pdb
from types import FrameType
from typing import Any

from taskq.utils.processes import current_process_index

__all__ = (
    "CELERY_RDB_HOST",
    "CELERY_RDB_PORT",
    "DEFAULT_PORT",
    "Rdb",
    "debugger",
    "set_trace",
)

DEFAULT_PORT = 6899


def _from_environment(name: str, default: str) -> str:
    return os.environ.get(f"TASKQ_{name}") or os.environ.get(f"CELERY_{name}") or default


#: Address to listen on, and the port from which on a free one is looked for.
CELERY_RDB_HOST = _from_environment("RDB_HOST", "127.0.0.1")
CELERY_RDB_PORT = int(_from_environment("RDB_PORT", str(DEFAULT_PORT)))

NO_AVAILABLE_PORT = (
    "{self.ident}: no free port among {first} to {last}: say where to begin with TASKQ_RDB_PORT."
)
BANNER = """\
{self.ident}: Ready to connect: telnet {self.host} {self.port}

Type `exit` in session to continue.

{self.ident}: Waiting for client...
"""
SESSION_STARTED = "{self.ident}: Now in session with {self.remote_addr}."
SESSION_ENDED = "{self.ident}: Session with {self.remote_addr} ended."

#: The debugger of this process, if one is in use.
_current: list[Rdb | None] = [None]


class Rdb(Pdb):
    """A ``pdb`` whose input and output are one TCP connection; waits for it when it is made.

    Parameters:
        host: address to listen on.
        port: port to listen on, or the first free one above it.
        port_search_limit: how many ports to try.
        port_skew: added to the port, so that pool processes do not compete.
        out: where it says that it waits.
    """

    me = "Remote Debugger"

    _prev_outs: tuple[Any, Any] | None = None
    _sock: socket.socket | None = None

    def __init__(
        self,
        host: str = CELERY_RDB_HOST,
        port: int = CELERY_RDB_PORT,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: Any = sys.stdout,
    ) -> None:
        self.active = True
        self.out = out
        self.host = host
        self.ident = f"{self.me}:{port}"
        self._sock, self.port = self.get_avail_port(host, port, port_search_limit, port_skew)
        self._sock.setblocking(True)
        self._sock.listen(1)
        self.ident = f"{self.me}:{self.port}"
        self.say(BANNER.format(self=self))
        self._client, address = self._sock.accept()
        self._client.setblocking(True)
        self.remote_addr = ":".join(str(part) for part in address[:2])
        self.say(SESSION_STARTED.format(self=self))
        # Two files: one for both would forget lines that arrived together when it writes.
        self._input = self._client.makefile("r", encoding="utf-8", errors="replace")
        self._handle = self._client.makefile("w", encoding="utf-8", errors="replace")
        super().__init__(completekey="tab", stdin=self._input, stdout=self._handle)
        self._prev_outs = sys.stdout, sys.stderr
        # What the code under the debugger prints is seen in the session.
        sys.stdout = sys.stderr = self._handle

    def get_avail_port(
        self, host: str, port: int, search_limit: int = 100, skew: int = 0
    ) -> tuple[socket.socket, int]:
        """Return a socket bound to the first free port, and that port.

        Raises OSError if there is none.
        """
        skew = skew or current_process_index() or 0
        first = port + skew
        for candidate in range(first, first + search_limit):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((host, candidate))
            except OSError as exc:
                sock.close()
                if exc.errno not in (errno.EADDRINUSE, errno.EINVAL):
                    raise
            else:
                return sock, candidate
        last = first + search_limit - 1
        raise OSError(NO_AVAILABLE_PORT.format(self=self, first=first, last=last))

    def __enter__(self) -> Rdb:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._close_session()

    def say(self, m: str) -> None:
        """Print where the worker's own output goes."""
        print(m, file=self.out, flush=True)

    def _close_session(self) -> None:
        if not self.active:
            return
        self.active = False
        if self._prev_outs is not None:
            sys.stdout, sys.stderr = self._prev_outs
        for closable in (self._handle, self._input, self._client, self._sock):
            try:
                if closable is not None:
                    closable.close()
            except OSError:
                pass  # the client has gone already
        if _current[0] is self:
            _current[0] = None
        self.say(SESSION_ENDED.format(self=self))

    def do_continue(self, arg: str) -> bool | None:
        """Go on with the program, and end the session."""
        self._close_session()
        self.set_continue()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """End the session; the program goes on."""
        self._close_session()
        self.set_quit()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:  # noqa: N802 - the name that cmd calls
        """The client has gone: go on with the program."""
        return self.do_continue(arg)

    def set_quit(self) -> None:
        """Stop debugging without ending the program, which is not ours."""
        sys.settrace(None)


def debugger() -> Rdb:
    """Return the debugger of this process, made (and waited for) if there is none."""
    current = _current[0]
    if current is None or not current.active:
        current = _current[0] = Rdb()
    return current


def _set_trace_from(frame: FrameType | None) -> None:
    debugger().set_trace(frame)


def set_trace(frame: FrameType | None = None) -> None:
    """Stop here and wait for a client to connect.

    - frame: where to stop; the caller if not given.
    """
    _set_trace_from(frame if frame is not None else sys._getframe(1))
