"""What a worker does when the operating system sends it a signal.

Installed by the worker program when it starts. A handler only sets what the worker's loop looks
at, or prints; it never does the work itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from taskq import platforms, signals
from taskq.platforms import EX_FAILURE, EX_OK
from taskq.utils.debug import cry
from taskq.utils.log import in_sighandler
from taskq.worker import state

#: The remote debugger; an optional part.
_DEBUGGER = "taskq.contrib.rdb"

#: Which signal stops the worker at once where TERM is remapped, as Heroku-like platforms need.
REMAP_SIGTERM = os.environ.get("TASKQ_REMAP_SIGTERM") or os.environ.get("REMAP_SIGTERM")

INT_AGAIN = (
    "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!"
)
COLD_AGAIN = "worker: Hitting Ctrl+C again will terminate all running tasks!"
HARD = "Waiting gracefully for cold shutdown to complete..."


def say(message: str, stream: Any = None) -> None:
    """Write a line where the user looks, safe inside a signal handler.

    - stream: an open file, stderr when not given. One that is closed is passed over.
    """
    stream = stream or sys.__stderr__
    if stream is None:
        return
    try:
        os.write(stream.fileno(), f"\n{message}\n".encode())
    except (OSError, ValueError):
        # The terminal is gone; the shutdown must go on all the same.
        return


def install(worker: Any, *, restart_on_hup: bool) -> None:
    """Install the handlers of a worker.

    - restart_on_hup: HUP restarts the worker; left to the system where a terminal sends it.
    """
    if restart_on_hup:
        install_worker_restart_handler(worker)
    install_worker_term_handler(worker)
    install_worker_term_hard_handler(worker)
    install_worker_int_handler(worker)
    install_cry_handler()
    install_rdb_handler()


def install_worker_term_handler(worker: Any, sig: str = "SIGTERM") -> None:
    """``sig`` stops the worker when what runs has finished; cold where TERM is remapped."""
    if REMAP_SIGTERM == "SIGQUIT" and sig == "SIGTERM":
        install_worker_term_hard_handler(worker, sig=sig)
    else:
        platforms.signals[sig] = _shutdown_handler(worker, sig=sig, how="Warm", exitcode=EX_OK)


def install_worker_int_handler(worker: Any, sig: str = "SIGINT") -> None:
    """``sig`` stops the worker when what runs has finished; the second one stops it cold."""

    def then(worker: Any) -> None:
        # Before it is promised: the next one may come at once.
        install_worker_term_hard_handler(worker, sig=sig, exitcode=EX_FAILURE)
        say(INT_AGAIN, sys.__stdout__)

    platforms.signals[sig] = _shutdown_handler(
        worker, sig=sig, how="Warm", callback=then, exitcode=EX_FAILURE
    )


def install_worker_term_hard_handler(
    worker: Any, sig: str = "SIGQUIT", exitcode: int = EX_OK
) -> None:
    """``sig`` stops the worker cold: what runs is given back, after a soft shutdown's deadline."""
    platforms.signals[sig] = _shutdown_handler(
        worker, sig=sig, how="Cold", callback=on_cold_shutdown, exitcode=exitcode
    )


def on_cold_shutdown(worker: Any) -> None:
    """Tell the user, and let the next signal end even a soft shutdown's waiting."""
    say(COLD_AGAIN, sys.__stdout__)
    for sig in ("SIGINT", "SIGQUIT", *(["SIGTERM"] if REMAP_SIGTERM == "SIGQUIT" else [])):
        platforms.signals[sig] = _shutdown_handler(
            worker, sig=sig, how="Cold", callback=on_hard_shutdown, exitcode=EX_FAILURE
        )


def on_hard_shutdown(worker: Any) -> None:
    """Tell the user that the shutdown is under way; the waiting of a soft one ends with it."""
    say(HARD, sys.__stdout__)


def _shutdown_handler(
    worker: Any,
    sig: str = "SIGTERM",
    how: str = "Warm",
    callback: Callable[[Any], None] | None = None,
    exitcode: int = EX_OK,
    verbose: bool = True,
) -> Callable[..., None]:
    """Return a handler that asks the worker's loop to stop.

    Parameters:
        sig: name of the signal, for ``signals.worker_shutting_down``.
        how: ``Warm`` (let tasks finish) or ``Cold`` (give them back).
        callback: called first with the worker.
        exitcode: exit status the process is to have.
        verbose: print what is going on.
    """

    def handle(*args: Any) -> None:
        with in_sighandler():
            if os.getpid() != worker.pid:
                return  # a pool process that inherited the handler
            if callback is not None:
                callback(worker)
            if verbose:
                say(f"worker: {how} shutdown (MainProcess)", sys.__stdout__)
            signals.worker_shutting_down.send(
                sender=worker.hostname, sig=sig, how=how, exitcode=exitcode
            )
            if how == "Warm":
                state.should_stop = exitcode
            else:
                state.should_terminate = exitcode

    return handle


def install_worker_restart_handler(worker: Any, sig: str = "SIGHUP") -> None:
    """``sig`` stops the worker warm and starts it again with the same command line."""

    def handle(*args: Any) -> None:
        with in_sighandler():
            say(f"Restarting taskq worker ({' '.join(sys.argv)})", sys.__stdout__)
            worker.restart_requested = True
            state.should_stop = EX_OK

    platforms.signals[sig] = handle


def install_cry_handler(sig: str = "SIGUSR1") -> None:
    """``sig`` prints the stack of every thread."""

    def handle(*args: Any) -> None:
        with in_sighandler():
            say(str(cry()))

    platforms.signals[sig] = handle


def install_rdb_handler(envvar: str = "RDBSIG", sig: str = "SIGUSR2") -> None:
    """``sig`` opens a debugger in the worker, where ``TASKQ_RDBSIG`` or ``CELERY_RDBSIG`` is set.

    - envvar: the variable's name, with or without its prefix.
    """
    name = envvar.removeprefix("CELERY_").removeprefix("TASKQ_")
    wanted = os.environ.get(f"TASKQ_{name}") or os.environ.get(f"CELERY_{name}")
    if not wanted or find_spec(_DEBUGGER) is None:
        return

    def handle(*args: Any) -> None:
        with in_sighandler():
            import_module(_DEBUGGER).set_trace(args[1])

    platforms.signals[sig] = handle


def restart() -> None:
    """Replace this process by a new run of the command line it was started with."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
