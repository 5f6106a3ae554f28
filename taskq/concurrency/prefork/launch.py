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
from collections.abc import Callable
from typing import Any

from taskq.concurrency.prefork.channel import write_all
from taskq.concurrency.prefork.child import ChildConfig, run_child
from taskq.concurrency.prefork.initializer import SPAWNED_VARIABLE
from taskq.concurrency.prefork.interrupts import BLOCKED_IN_FORK
from taskq.concurrency.prefork.page import PAGE_SIZE, Page, shared_file

#: Start methods, as ``worker_pool_start_method`` names them.
START_METHODS = ("fork", "spawn")

#: Program of a spawned child. It reads everything from the descriptor that is put in; path and
#: environment come before the first import of ours.
SPAWN_PROGRAM = """
import os, pickle, sys
with os.fdopen({fd}, "rb") as file:
    start = pickle.load(file)
sys.path[:] = start["preparation"]["sys_path"]
os.environ.update(start["environment"])
from taskq.concurrency.prefork.spawned import main
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
    from multiprocessing import spawn as mp_spawn
    from multiprocessing import util as mp_util

    from taskq.concurrency.prefork.appref import reference

    preparation: dict[str, Any] = mp_spawn.get_preparation_data(config.name)
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
        "socket": child_end.fileno(),
        "page": page_fd,
        "config": pickle.dumps((config.without_app(), reference(config.app))),
    }
    fd = shared_file(0, "taskq-start")
    try:
        write_all(fd, pickle.dumps(start))
        os.lseek(fd, 0, os.SEEK_SET)
        program = SPAWN_PROGRAM.format(fd=fd)
        executable = mp_spawn.get_executable()
        arguments = [executable, *_interpreter_flags(), "-c", program]
        passed = sorted({fd, child_end.fileno(), page_fd})
        return int(mp_util.spawnv_passfds(os.fsencode(executable), arguments, passed))
    finally:
        os.close(fd)


def _interpreter_flags() -> list[str]:
    """Return the command line flags with which this interpreter was started."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags")()  # noqa: B009
    return flags


def page_file() -> int:
    """Return a file to back a page that a spawned child can map too."""
    return shared_file(PAGE_SIZE, "taskq-page")
