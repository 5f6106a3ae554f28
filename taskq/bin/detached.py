"""Running a command again as a process in the background.

Used by the long-running commands for ``--detach``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from taskq.bin.errors import CommandError

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
        logfile: file for the daemon's log, and for what it says before its log is set up.
        pidfile: file that holds its process id; it must not run already.
        uid, gid: user and group (names or numbers) to run as.
        umask: mask for new files, a number or octal digits; this process's if not given.
        workdir: directory to run in, the current one if not given.
        fake: stay in the foreground, for tests and debugging.

    Raises CommandError, still in the foreground, for what could not be said in the background.
    """
    from taskq.platforms import create_pidlock, detached  # start-up: only a daemon needs it

    executable = path or sys.executable
    become(uid, gid)
    mask = parse_umask(umask)
    if mask is not None:
        os.umask(mask)
    if logfile:
        with unwritable_explained():
            open(logfile, "a").close()
    if pidfile:
        create_pidlock(pidfile).release()
    with detached(
        umask=_current_umask(),
        workdir=workdir or os.getcwd(),
        fake=fake,
        after_forkers=False,
    ):
        os.environ[IN_BACKGROUND_ENV] = "1"
        if logfile and not fake:
            _send_stderr_to(logfile)
        try:
            os.execv(executable, [executable, *argv])
        except OSError as exc:
            sys.stderr.write(f"taskq: cannot run {executable!r} in the background: {exc}\n")
    return EX_FAILURE  # reached only where the program could not be run


def become(uid: str | int | None, gid: str | int | None) -> None:
    """Take another user and group, by name or number.

    Raises CommandError where they do not exist or may not be taken.
    """
    from taskq.platforms import maybe_drop_privileges  # start-up: as above

    try:
        maybe_drop_privileges(uid=uid, gid=gid)
    except (KeyError, OSError) as exc:
        reason = exc.args[0] if isinstance(exc, KeyError) else exc
        raise CommandError(f"Cannot run as user {uid!r}, group {gid!r}: {reason}") from exc


def parse_umask(value: str | int | None) -> int | None:
    """Return a file mask given as a number or as octal digits.

    Raises click.UsageError that names the value if it is neither.
    """
    if value is None or isinstance(value, int):
        return value
    try:
        return int(value, 8)
    except ValueError as exc:
        raise click.UsageError(f"--umask {value!r} is not an octal number, such as 022.") from exc


@contextmanager
def unwritable_explained() -> Iterator[None]:
    """Turn the error of a file that cannot be written into a message that names it."""
    try:
        yield
    except OSError as exc:
        if exc.filename is None:
            raise
        raise CommandError(f"Cannot write to {os.fsdecode(exc.filename)}: {exc.strerror}.") from exc


def _current_umask() -> int:
    mask = os.umask(0)  # there is no other way to ask
    os.umask(mask)
    return mask


def _send_stderr_to(logfile: str) -> None:
    with open(logfile, "ab") as log:
        os.dup2(log.fileno(), 2)
