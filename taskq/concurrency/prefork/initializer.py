"""What a new pool process does before its first task, and the last thing it does.

Both functions are public under Celery's names; the child loop calls them.
"""

from __future__ import annotations

import os
from typing import Any

from taskq import signals
from taskq._state import _set_task_join_will_block
from taskq.app import trace
from taskq.platforms import set_mp_process_title
from taskq.platforms import signals as os_signals

#: Signals that get their default action back: the main process handles them for itself.
WORKER_SIGRESET = {"SIGTERM", "SIGHUP", "SIGTTIN", "SIGTTOU", "SIGUSR1"}
#: Signals that only concern the main process: Ctrl-C goes to the whole group.
WORKER_SIGIGNORE = {"SIGINT"}

#: Set when a process was spawned, not forked, so that it has to set everything up by itself.
SPAWNED_VARIABLE = "FORKED_BY_MULTIPROCESSING"

#: Node name of the worker that this process was last set up for.
_node: list[str | None] = [None]


def process_initializer(app: Any, hostname: str | None) -> None:
    """Set up the process for the tasks of ``app``: signals, title, loader, logging, trace.

    Parameters:
        app: the app whose tasks will run.
        hostname: node name of the worker, ``celery@host``.
    """
    os_signals.reset(*WORKER_SIGRESET)
    os_signals.ignore(*WORKER_SIGIGNORE)
    set_mp_process_title("celeryd", hostname=hostname)
    app.loader.init_worker()
    app.loader.init_worker_process()
    _set_up_logging(app, hostname)
    app.set_current()
    app.set_default()
    app.finalize()
    trace.setup_worker_optimizations(app, hostname)
    _set_task_join_will_block(True)
    _node.append(hostname)
    signals.worker_process_init.send(sender=hostname)


def process_destructor(pid: int, exitcode: int) -> None:
    """Tell the ``worker_process_shutdown`` receivers that this process ends."""
    signals.worker_process_shutdown.send(sender=_node[-1], pid=pid, exitcode=exitcode)


def _set_up_logging(app: Any, hostname: str | None) -> None:
    """Log to the worker's destination; to the child's own file when its name has ``%i`` in it."""
    logfile = os.environ.get("CELERY_LOG_FILE") or None
    spawned = bool(os.environ.get(SPAWNED_VARIABLE))
    own_file = logfile is not None and "%i" in logfile.lower()
    if not (spawned or own_file):
        # Forked: the handlers of the main process are in place.
        return
    app.log.already_setup = False
    app.log.setup(
        int(os.environ.get("CELERY_LOG_LEVEL") or 0),
        logfile,
        bool(os.environ.get("CELERY_LOG_REDIRECT", False)),
        str(os.environ.get("CELERY_LOG_REDIRECT_LEVEL")),
        hostname=hostname,
    )
