"""Running a command again as a process in the background.

Used by the long-running commands for ``--detach``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

#: Set for the process that was started in the background: it has detached, dropped privileges and
#: changed directory already, and must not do so again though its command line says it.
IN_BACKGROUND_ENV = "_TASKQ_IN_BACKGROUND"

EX_FAILURE = 1


def in_background() -> bool:
    """Return whether this process is the one that was started in the background."""
    return IN_BACKGROUND_ENV in os.environ


def run_in_background(
    argv: Sequence[str],
    *,
    path: str | None = None,
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | int | None = None,
    gid: str | int | None = None,
    umask: str | int | None = None,
    workdir: str | None = None,
    fake: bool = False,
) -> int:
    """Run ``path argv…`` as a daemon; the parent exits here, with status 0, once it is on its way.

    Returns the exit status 1 where the daemon could not be run.

    Parameters:
        argv: arguments of the Python that is started.
        path: Python executable, this one if not given.
        logfile, pidfile: files that must be writable, checked before the parent returns.
        uid, gid: user and group (names or numbers) to run as.
        umask: mask for new files, a number or octal digits.
        workdir: directory to run in, the current one if not given.
        fake: stay in the foreground, for tests and debugging.
    """
    from taskq.platforms import detached  # start-up: only a daemon needs it

    executable = path or sys.executable
    with detached(
        logfile,
        pidfile,
        uid,
        gid,
        umask=umask or 0,
        workdir=workdir or os.getcwd(),
        fake=fake,
        after_forkers=False,
    ):
        os.environ[IN_BACKGROUND_ENV] = "1"
        try:
            os.execv(executable, [executable, *argv])
        except OSError as exc:
            _report(logfile, f"cannot run {executable!r} in the background: {exc}")
    return EX_FAILURE  # reached only where the program could not be run


def _report(logfile: str | None, message: str) -> None:
    """Write to the log: the terminal is gone by now."""
    if logfile:
        with open(logfile, "a", encoding="utf-8") as log:
            log.write(f"taskq: {message}\n")
    else:
        sys.stderr.write(f"taskq: {message}\n")
