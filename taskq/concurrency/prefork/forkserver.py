"""A process that forks children for the main process: as quick as a fork, as clean as a spawn.

It is a fresh interpreter that has imported the app and does nothing but fork, so that children
inherit no thread, lock or connection of the worker. In order, for each child: the nursery asks; the
server forks a go-between, which forks the child and ends; the child becomes the main process's own,
which waits for it like for any other.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from multiprocessing import spawn
from typing import Any, NoReturn

from taskq.concurrency.prefork.child import ChildConfig, run_child
from taskq.concurrency.prefork.inherited import take_files
from taskq.concurrency.prefork.interrupts import BLOCKED_IN_FORK
from taskq.concurrency.prefork.launch import lease_file
from taskq.utils.process.parent_death import send_on_parent_death
from taskq.utils.process.subreaper import adopting_orphans

logger = logging.getLogger(__name__)

#: Seconds that the server may take to start, and to fork; it imports the app first.
ANSWER_TIMEOUT = 120.0
#: Largest request, in bytes.
REQUEST_SIZE = 1 << 16
#: Files that come with it: the child's socket, its page, the clock of the worker's lease.
MOST_FILES = 3
#: Seconds that a new child waits to become the main process's.
ADOPTION_TIMEOUT = 10.0

_PID = struct.Struct("!i")


class ForkServer:
    """The main process's end.

    Parameters:
        start: starts the server with its end of a socket, and returns its pid.
    """

    def __init__(self, start: Callable[[socket.socket], int]) -> None:
        self._start = start
        self._socket: socket.socket | None = None
        self._pid = 0

    def fork(self, config: ChildConfig, child_end: socket.socket, page_fd: int) -> int:
        """Have a child forked and return its pid.

        Raises:
            ChildProcessError: the server could not, the second time too.
        """
        try:
            return self._ask(config, child_end, page_fd)
        except OSError as exc:
            logger.warning("The fork server does not answer (%s): starting another one", exc)
        self.close()
        try:
            return self._ask(config, child_end, page_fd)
        except OSError as exc:
            self.close()
            raise ChildProcessError(
                f"The fork server could not start a pool process: {exc}. The log above says why."
            ) from exc

    def close(self) -> None:
        """End the server; its children live on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pid:
            pid, self._pid = self._pid, 0
            os.kill(pid, signal.SIGKILL)  # it holds nothing
            os.waitpid(pid, 0)

    def _ask(self, config: ChildConfig, child_end: socket.socket, page_fd: int) -> int:
        request = pickle.dumps(config.without_app())
        with adopting_orphans():
            sock = self._connected()
            socket.send_fds(sock, [request], [child_end.fileno(), page_fd, *lease_file()])
            answer = sock.recv(_PID.size)
        if not answer:
            raise ConnectionResetError("it has ended")
        (pid,) = _PID.unpack(answer)
        return int(pid)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with its:
                self._pid = self._start(its)
            ours.settimeout(ANSWER_TIMEOUT)
            self._socket = ours
        return self._socket


def main(start: dict[str, Any]) -> NoReturn:
    """Be the server that :func:`taskq.concurrency.prefork.launch.start_fork_server` describes."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        # Meant for the worker, and sent to its whole group.
        signal.signal(signum, signal.SIG_IGN)
    # Another process of the worker's may hold its end of the socket open.
    send_on_parent_death(signal.SIGKILL)
    spawn.prepare(start["preparation"])
    requests = socket.socket(fileno=start["socket"])
    requests.set_inheritable(False)
    _, reference = pickle.loads(start["config"])
    app = reference.resolve()
    if app is not None:
        app.loader.init_worker()
        app.finalize()
    gc.freeze()
    while True:
        request, fds, _, _ = socket.recv_fds(requests, REQUEST_SIZE, MOST_FILES)
        if not request:
            sys.exit(0)  # the main process has ended
        pid = _fork_apart(requests, pickle.loads(request).with_app(app), fds)
        for fd in fds:
            os.close(fd)
        requests.send(_PID.pack(pid))


def _fork_apart(requests: socket.socket, config: ChildConfig, fds: list[int]) -> int:
    """Fork a child that is not ours, and return its pid once it has become the main process's."""
    reader, writer = os.pipe()
    # Held back until the child has handlers of its own.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_IN_FORK)
    try:
        between = os.fork()
        if not between:
            try:
                child = os.fork()
                if child:
                    os.write(writer, _PID.pack(child))
                    os._exit(0)
                os.close(reader)
                os.close(writer)
                requests.close()
                _become_child(config, fds)
            finally:
                os._exit(os.EX_SOFTWARE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(writer)
    os.waitpid(between, 0)
    with os.fdopen(reader, "rb") as answer:
        (pid,) = _PID.unpack(answer.read())
    return int(pid)


def _become_child(config: ChildConfig, fds: list[int]) -> NoReturn:
    until = time.monotonic() + ADOPTION_TIMEOUT
    while os.getppid() != config.main_pid and time.monotonic() < until:
        time.sleep(0.001)
    sock = socket.socket(fileno=fds[0])
    sock.set_inheritable(False)
    run_child(config, sock, take_files(fds[1:]))
