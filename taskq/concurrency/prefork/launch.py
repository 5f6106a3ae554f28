"""Starts child processes, by fork or as fresh interpreters.

The nursery calls it; what runs in the child afterwards is :mod:`taskq.concurrency.prefork.child`.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from taskq.concurrency.prefork.appref import reference
from taskq.concurrency.prefork.channel import write_all
from taskq.concurrency.prefork.child import ChildConfig, run_child
from taskq.concurrency.prefork.initializer import SPAWNED_VARIABLE
from taskq.concurrency.prefork.interrupts import BLOCKED_IN_FORK
from taskq.concurrency.prefork.page import PAGE_SIZE, Page
from taskq.utils import leaseclock
from taskq.utils.sharedfile import shared_file

#: Start methods, as ``worker_pool_start_method`` names them.
START_METHODS = ("fork", "spawn", "forkserver")

#: Program of a fresh interpreter. It reads everything from the descriptor that is put in; path and
#: environment come before the first import of ours.
PROGRAM = """
import os, pickle, sys
with os.fdopen({fd}, "rb") as file:
    start = pickle.load(file)
sys.path[:] = start["preparation"]["sys_path"]
os.environ.update(start["environment"])
from {entry} import main
main(start)
"""


def fork(
    config: ChildConfig, child_end: socket.socket, page: Page, close: Callable[[], None]
) -> int:
    """Fork a child and return its pid.

    Parameters:
        close: called in the child first, to close what belongs to the main process.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # Signals are held back until the child has handlers of its own: the main process's handlers
    # must not run there.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED_IN_FORK)
    try:
        with warnings.catch_warnings():
            # Threads of the main process are not needed in the child.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            try:
                close()
                run_child(config, child_end, page)
            finally:
                os._exit(os.EX_SOFTWARE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


def spawn(config: ChildConfig, child_end: socket.socket, page_fd: int) -> int:
    """Start a fresh interpreter as a child and return its pid.

    Raises:
        Exception: the app can't be pickled.
    """
    return _interpreter(
        "taskq.concurrency.prefork.spawned",
        config.name,
        child_end.fileno(),
        pickle.dumps((config.without_app(), reference(config.app))),
        [page_fd, *lease_file()],
    )


def start_fork_server(app: Any, its_end: socket.socket) -> int:
    """Start the process that forks children, and return its pid.

    Parameters:
        app: what it imports before it forks.
        its_end: of the socket over which it is asked.

    Raises:
        Exception: the app can't be pickled.
    """
    return _interpreter(
        "taskq.concurrency.prefork.forkserver",
        "ForkServer",
        its_end.fileno(),
        pickle.dumps((None, reference(app))),
    )


def _interpreter(
    entry: str, name: str, socket_fd: int, config: bytes, files: Sequence[int] = ()
) -> int:
    """Start a fresh interpreter that calls ``main()`` of the module ``entry``; return its pid."""
    from multiprocessing import spawn as mp_spawn
    from multiprocessing import util as mp_util

    preparation: dict[str, Any] = mp_spawn.get_preparation_data(name)
    # A bytes subclass that refuses to be pickled outside of multiprocessing.
    preparation["authkey"] = bytes(preparation["authkey"])
    environment = {SPAWNED_VARIABLE: "1"}
    main_file = getattr(sys.modules["__main__"], "__file__", None)
    if main_file:
        # Its tasks have the same names where it is not the main module.
        environment["MP_MAIN_FILE"] = os.path.abspath(main_file)
    start: dict[str, Any] = {
        "preparation": preparation,
        "environment": environment,
        "socket": socket_fd,
        "files": list(files),
        "config": config,
    }
    fd = shared_file(0, "taskq-start")
    try:
        write_all(fd, pickle.dumps(start))
        os.lseek(fd, 0, os.SEEK_SET)
        program = PROGRAM.format(fd=fd, entry=entry)
        executable = mp_spawn.get_executable()
        arguments = [executable, *_interpreter_flags(), "-c", program]
        passed = sorted({fd, socket_fd, *files})
        return int(mp_util.spawnv_passfds(os.fsencode(executable), arguments, passed))
    finally:
        os.close(fd)


def _interpreter_flags() -> list[str]:
    """Return the command line flags with which this interpreter was started."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009
    return flags


def lease_file() -> list[int]:
    """Return the descriptor of the clock of the worker's lease, in a list; empty if it has none."""
    clock = leaseclock.current()
    return [clock.fd] if clock is not None else []


def page_file() -> int:
    """Return a file to back a page that a spawned child can map too."""
    return shared_file(PAGE_SIZE, "taskq-page")
