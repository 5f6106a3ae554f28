"""Pidfiles: a file that holds a program's process id and keeps it from being started twice.

Used by daemons; ``create_pidlock`` is what programs call.
"""

from __future__ import annotations

import atexit
import errno
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from taskq.local import try_import

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The file must be new, so of two processes only one can make it.
PIDFILE_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY
PIDFILE_MODE = 0o644

PIDLOCKED = """ERROR: Pidfile ({0}) already exists.
Seems we're already running? (pid: {1})"""

#: Exit code when the pidfile cannot be made.
_EX_CANTCREAT = getattr(os, "EX_CANTCREAT", 73)


class LockFailed(Exception):
    """The pidfile exists already, or cannot be made."""


class Pidfile:
    """A pidfile; as context manager it is held in the ``with`` block.

    Parameters:
        path: the file.
    """

    #: Path of the file.
    path: str = ""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)

    def acquire(self) -> Pidfile:
        """Make the file. Raises LockFailed if it exists."""
        try:
            self.write_pid()
        except OSError as exc:
            raise LockFailed(f"cannot make pidfile {self.path}: {exc}") from exc
        return self

    __enter__ = acquire

    def is_locked(self) -> bool:
        """Return True if the file exists."""
        return os.path.exists(self.path)

    def release(self, *args: Any) -> None:
        """Remove the file."""
        self.remove()

    __exit__ = release

    def read_pid(self) -> int | None:
        """Return the process id in the file, or None if there is no file.

        Raises ValueError if the file holds anything else.
        """
        try:
            with open(self.path, encoding="ascii", errors="replace") as file:
                line = file.readline()
        except FileNotFoundError:
            return None
        if line.strip() == line:  # Written in two parts, so it is still being written.
            raise ValueError(f"Partial or invalid pidfile {self.path}")
        try:
            return int(line.strip())
        except ValueError:
            raise ValueError(f"pidfile {self.path} contents invalid.") from None

    def remove(self) -> None:
        """Remove the file, if it exists and we may."""
        try:
            os.unlink(self.path)
        except (FileNotFoundError, PermissionError):
            pass  # A daemon that gave up its rights may not; the next start finds it stale.

    def remove_if_stale(self) -> bool:
        """Remove the file if no such process runs; return True if there is none now."""
        with _exclusively(self.path) as is_ours_to_judge:
            if not is_ours_to_judge:
                return not self.is_locked()
            return self._remove_if_stale()

    def _remove_if_stale(self) -> bool:
        try:
            pid = self.read_pid()
        except ValueError:
            print("Broken pidfile found - Removing it.", file=sys.stderr)
            self.remove()
            return True
        # Our own id: in a container our predecessor may have had the same.
        if not pid or pid == os.getpid():
            self.remove()
            return True
        if not _is_running(pid):
            print("Stale pidfile exists - Removing it.", file=sys.stderr)
            self.remove()
            return True
        return False

    def write_pid(self) -> None:
        """Make the file, with our process id in it.

        It appears whole: nobody can find it empty, take it for broken and remove it.
        """
        draft = f"{self.path}.{os.getpid()}"
        descriptor = os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, PIDFILE_MODE)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{os.getpid()}\n")
                file.flush()
                # After a crash of the machine the file must not be there empty.
                os.fsync(descriptor)
            _publish(draft, self.path)
        finally:
            _unlink(draft)


def _publish(draft: str, path: str) -> None:
    """Give ``draft`` the name ``path`` as well, which must be new."""
    try:
        os.link(draft, path)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        # No links on this file system: the file is empty for a moment.
        with open(draft, "rb") as source:
            content = source.read()
        descriptor = os.open(path, PIDFILE_FLAGS, PIDFILE_MODE)
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # That is what we want.


@contextmanager
def _exclusively(path: str) -> Iterator[bool]:
    """Keep others from judging the file at ``path`` meanwhile.

    Gives False if the file is gone or has been replaced by the time we may look: two processes that
    both find a stale file must not remove each other's new one.
    """
    fcntl = try_import("fcntl")
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError:
        yield os.path.exists(path)
        return
    with file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
        except OSError:
            same = False
        yield same


PIDFile = Pidfile


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as exc:
        # EPERM: there is one, of another user.
        return exc.errno == errno.EPERM
    except OverflowError:
        return False
    return True


def create_pidlock(pidfile: str) -> Pidfile:
    """Make the pidfile of this process, which is removed at its end; exit if that cannot be.

    A stale file is replaced. Returns the :class:`Pidfile`.

    Raises SystemExit if the program runs already.
    """
    lock = _create_pidlock(pidfile)
    owner = os.getpid()

    def release_at_exit() -> None:
        # Children inherit this function, and not the lock.
        if os.getpid() == owner:
            lock.release()

    atexit.register(release_at_exit)
    return lock


def _create_pidlock(pidfile: str) -> Pidfile:
    lock = Pidfile(pidfile)
    if lock.is_locked() and not lock.remove_if_stale():
        print(PIDLOCKED.format(pidfile, lock.read_pid()), file=sys.stderr)
        raise SystemExit(_EX_CANTCREAT)
    try:
        lock.acquire()
    except LockFailed as exc:
        # Another process was quicker, or we may not write there.
        print(f"ERROR: {exc}", file=sys.stderr)
        raise SystemExit(_EX_CANTCREAT) from exc
    return lock
