"""Daemons: programs that leave the terminal they were started from.

Used by the worker, beat and multi with ``--detach``.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from taskq.utils.process.descriptors import close_open_fds
from taskq.utils.process.signals import signals
from taskq.utils.process.users import maybe_drop_privileges

if TYPE_CHECKING:
    from collections.abc import Callable

#: Working directory of daemons, which keeps no file system from being unmounted.
DAEMON_WORKDIR = "/"


class DaemonContext:
    """Context manager: code in the ``with`` block runs as a daemon; the program before it exits.

    Parameters:
        pidfile: not used here; programs make their pidfile themselves.
        workdir: working directory (default ``/``).
        umask: file mode mask, a number or octal text.
        fake: run the block where we are, for debugging.
        after_chdir: called after the working directory changed.
        after_forkers: keep the descriptors that libraries may still need, and have those of
            ``multiprocessing`` run their hooks.
    """

    _is_open = False

    def __init__(
        self,
        pidfile: str | None = None,
        workdir: str | None = None,
        umask: int | str | None = None,
        fake: bool = False,
        after_chdir: Callable[[], Any] | None = None,
        after_forkers: bool = True,
        **kwargs: Any,
    ) -> None:
        if isinstance(umask, str):
            umask = int(umask, 8)
        self.workdir = workdir or DAEMON_WORKDIR
        self.umask = umask
        self.fake = fake
        self.after_chdir = after_chdir
        self.after_forkers = after_forkers
        self.stdfds = (sys.stdin, sys.stdout, sys.stderr)

    def redirect_to_null(self, fd: int | None) -> None:
        """Have descriptor ``fd`` read from and write to ``/dev/null``."""
        if fd is None:
            return
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)

    def open(self) -> None:
        """Become a daemon."""
        if self._is_open:
            return
        if not self.fake:
            self._detach()
        os.chdir(self.workdir)
        if self.umask is not None:
            os.umask(self.umask)
        if self.after_chdir:
            self.after_chdir()
        if not self.fake:
            self._close_descriptors()
            self._run_fork_hooks()
        self._is_open = True

    def __enter__(self) -> DaemonContext:
        self.open()
        return self

    def close(self, *args: Any) -> None:
        """Leave the context; the process goes on as a daemon."""
        self._is_open = False

    __exit__ = close

    def _detach(self) -> None:
        if os.fork() == 0:  # The child:
            os.setsid()  # leads a new session without terminal,
            if os.fork() > 0:  # and its child can never get one, as it leads none.
                os._exit(0)
        else:
            os._exit(0)

    def _close_descriptors(self) -> None:
        standard = [fd for fd in map(_fileno, self.stdfds) if fd is not None]
        if self.after_forkers:
            from taskq.utils.process.descriptors import fd_by_path

            # Python may keep this one open, and believe that it still is.
            standard += fd_by_path(["/dev/urandom"])
        close_open_fds(standard)
        for stream in self.stdfds:
            self.redirect_to_null(_fileno(stream))

    def _run_fork_hooks(self) -> None:
        billiard_util = sys.modules.get("billiard.util")
        if self.after_forkers and billiard_util is not None:
            billiard_util._run_after_forkers()


def _fileno(stream: Any) -> int | None:
    try:
        return stream.fileno()  # type: ignore[no-any-return]
    except (AttributeError, OSError, ValueError):
        return None  # Closed, or no real file.


def detached(
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: int | str | None = None,
    gid: int | str | None = None,
    umask: int | str = 0,
    workdir: str | None = None,
    fake: bool = False,
    **opts: Any,
) -> DaemonContext:
    """Return a context in which the program is a daemon.

    Parameters:
        logfile: file that must be writable.
        pidfile: file for the process id; the program must not run already.
        uid: user (name or number) to become.
        gid: group (name or number) to become.
        umask: file mode mask, a number or octal text.
        workdir: working directory (default ``/``).
        fake: stay where we are, for debugging.

    What would go wrong in the daemon, where nobody sees it, is tried before: the rights to write
    the log and the pidfile.

    Raises RuntimeError where the system has no daemons.
    """
    if not hasattr(os, "fork") or not hasattr(os, "setsid"):
        raise RuntimeError("This platform does not support detach.")
    workdir = os.getcwd() if workdir is None else workdir
    signals.reset("SIGCLD")  # Inherited as ignored, it would keep us from seeing children exit.
    maybe_drop_privileges(uid=uid, gid=gid)

    def after_chdir_do() -> None:
        # Relative paths are relative to the working directory of the daemon.
        if logfile:
            open(logfile, "a").close()
        if pidfile:
            from taskq.utils.process.pidfile import _create_pidlock

            _create_pidlock(pidfile).release()

    return DaemonContext(umask=umask, workdir=workdir, fake=fake, after_chdir=after_chdir_do)
