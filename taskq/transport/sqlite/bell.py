"""Tells waiting processes that something was committed, and waits to be told.

A writer rings after its commit by touching a file that exists anyway: the database for messages,
the write-ahead log for results. Listeners get that as an inotify event. (Events of the commit's
own writes come too early: before other processes can see what was written.) Where there is no
inotify, a listener asks SQLite for its data version every few milliseconds instead.
"""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable

from taskq.transport.sqlite import forking
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.inotify import Inotify, InotifyUnavailable

__all__ = ("Listener", "messages_bell", "results_bell", "ring", "wait_readable")

#: Shortest and longest pause (seconds) between two looks at the data version.
FIRST_POLL = 0.002
LONGEST_POLL = 0.05
#: Longest wait (seconds) for the bell before looking anyway: its ringer may have been killed
#: between its commit and its ring.
LONGEST_WAIT = 1.0


def messages_bell(database: Database) -> str:
    """Return the path to touch after a commit that makes a message ready or delayed."""
    return database.path


def results_bell(database: Database) -> str:
    """Return the path to touch after a commit that changes a result."""
    return f"{database.path}-wal"


def ring(database: Database, bell: str) -> None:
    """Wake everybody who listens to `bell`.

    Raises:
        taskq.transport.sqlite.errors.DatabaseMissing: the database was deleted, and what was
            committed with it.
    """
    try:
        os.utime(bell)
    except FileNotFoundError:
        database.check_file()
    except OSError:
        # Not ours to touch: listeners look by themselves once a second.
        pass


class Listener:
    """Waits for a bell. For one thread, or one event loop, at a time.

    Parameters:

    - `database`: the connection that the one who waits reads with.
    - `bell`: tells the path to listen to.
    """

    def __init__(self, database: Database, bell: Callable[[Database], str]) -> None:
        self._database = database
        self._bell = bell
        self._inotify: Inotify | None = None
        self._generation = -1
        self._version = -1
        self._pause = FIRST_POLL
        forking.register(self)

    def start(self) -> None:
        """Listen from now on; to be called before looking for what one would wait for."""
        self._database.connect()
        if self._generation == self._database.generation:
            return
        self._generation = self._database.generation
        try:
            if self._inotify is None:
                self._inotify = Inotify()
            self._inotify.watch(self._bell(self._database))
        except InotifyUnavailable:
            self.close()
            self._generation = self._database.generation
            self._version = self._database.data_version()

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when the bell rang, or None if one must poll."""
        return None if self._inotify is None else self._inotify.fileno()

    def poll_interval(self) -> float | None:
        """Return the seconds after which `rang` should be asked again, None with a descriptor."""
        return None if self._inotify is not None else self._pause

    def rang(self) -> bool:
        """Tell, without blocking, whether the bell rang since the last time."""
        if self._inotify is not None:
            return self._inotify.drain()
        version = self._database.data_version()
        changed = version != self._version
        self._version = version
        self._pause = FIRST_POLL if changed else min(self._pause * 1.5, LONGEST_POLL)
        return changed

    def wait(self, timeout: float, other_fd: int | None = None) -> bool:
        """Block until the bell rings, at most `timeout` seconds; return whether it rang.

        Parameters:
            timeout: seconds; a wait may end early without a ring.
            other_fd: a descriptor that also ends the wait when it becomes readable.
        """
        fd = self.fileno()
        if fd is not None:
            fds = [fd] if other_fd is None else [fd, other_fd]
            wait_readable(fds, min(timeout, LONGEST_WAIT))
            return self.rang()
        deadline = time.monotonic() + timeout
        while not self.rang():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            pause = min(left, self._pause)
            if other_fd is None:
                time.sleep(pause)
            elif wait_readable([other_fd], pause):
                return False
        return True

    def close(self) -> None:
        """Stop listening; `start` begins anew."""
        inotify, self._inotify = self._inotify, None
        self._generation = -1
        if inotify is not None:
            inotify.close()

    def before_fork(self) -> None:
        """Nothing to do: a descriptor may be copied, as long as the child does not read it."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do: listening went on."""

    def after_fork_in_child(self) -> None:
        """Leave the events to the parent."""
        self.close()


def wait_readable(fds: list[int], timeout: float) -> bool:
    """Block until one of the descriptors is readable, at most `timeout` seconds."""
    timeout = max(timeout, 0.0)
    if hasattr(select, "poll"):
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        return bool(poller.poll(math.ceil(timeout * 1000)))
    return bool(select.select(fds, [], [], timeout)[0])
