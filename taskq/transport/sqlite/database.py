"""One connection to the database file: opens it, runs transactions, waits its turn for the lock.

Used by the transport, the lease keeper and the result backend, one `Database` each or more.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import py_object, pythonapi
from typing import Any, TypeVar

from taskq.transport.sqlite import errors, forking
from taskq.transport.sqlite.options import Options
from taskq.transport.sqlite.schema import create_file, migrate
from taskq.transport.sqlite.statements import Connection
from taskq.transport.sqlite.topics import topic_matches

__all__ = ("Database",)

T = TypeVar("T")
Row = tuple[Any, ...]


#: First and longest pause (seconds) before trying again for a lock that somebody else holds.
#: SQLite's own waiting starts at a millisecond, which is twenty transactions long.
FIRST_PAUSE = 0.0001
LONGEST_PAUSE = 0.002
#: Seconds between two checks that the path still leads to the file that is open.
INODE_CHECK_INTERVAL = 1.0
#: Seconds a fork waits for another thread's transaction to end.
FORK_PATIENCE = 10.0

E_REPLACED = (
    "The database {path} was deleted or replaced while it was in use. What was in it is gone "
    "with it; this operation is tried again on the new file where the caller retries."
)
E_NO_WAL = (
    "The database {path} cannot be put into write-ahead mode (it stays in {mode!r} mode). "
    "Its file system lacks shared memory or locks, as network file systems do: use a local disk."
)


class Database:
    """A connection to the database file that any thread may use, one at a time.

    The connection is opened on first use, again after a fork, and again after an error that
    leaves its state in doubt. Parameters:

    - `options`: the file and how to use it.
    - `forgiving`: go on with the new file where the path leads to another one than before,
      instead of raising `DatabaseMissing` once; for users without a state of their own.
    """

    def __init__(self, options: Options, *, forgiving: bool = False) -> None:
        self.options = options
        self.path = options.path
        #: Identity of the file that is or was open last.
        self.file_id = ""
        self._forgiving = forgiving
        #: Grows by one whenever the file is opened; what hangs on the connection starts anew.
        self.generation = 0
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._in_transaction = False
        self._resting = False
        self._inode: tuple[int, int] | None = None
        self._next_check = 0.0
        forking.register(self)

    # -- statements ---------------------------------------------------------

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Run a query outside of a transaction and return its rows."""

        def run(connection: sqlite3.Connection) -> list[Row]:
            return connection.execute(sql, parameters).fetchall()

        return self._attempt(run)

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement as a transaction of its own; return the number of rows changed."""

        def run(connection: sqlite3.Connection) -> int:
            return connection.execute(sql, parameters).rowcount

        return self._attempt(run)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection with the write lock held; commit at the end, roll back on errors."""
        with self._lock:
            connection = self._attempt(_begin)
            self._in_transaction = True
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException as exc:
                self._roll_back(connection)
                if isinstance(exc, sqlite3.Error):
                    raise self._failed(exc) from exc
                raise
            finally:
                self._in_transaction = False

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed something."""
        version: int = self.read("PRAGMA data_version")[0][0]
        return version

    # -- life ---------------------------------------------------------------

    def connect(self) -> None:
        """Open the file now, creating it if it is not there.

        Raises:
            taskq.transport.sqlite.errors.DatabaseError: it cannot be used; says why.
        """
        self._attempt(lambda connection: None)

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def check_file(self) -> None:
        """Raise `DatabaseMissing` if the path no longer leads to the file that is open."""
        with self._lock:
            if self._connection is None:
                return
            if not self._leads_here():
                self.close()
                raise errors.DatabaseMissing(E_REPLACED.format(path=self.path))

    def before_fork(self) -> None:
        """Close the connection and keep other threads from opening it again."""
        self._resting = self._lock.acquire(timeout=FORK_PATIENCE)
        if self._resting:
            connection = self._connection
            # A signal handler may fork in the middle of this thread's own transaction: then the
            # connection stays, and the child leaves it alone.
            if connection is not None and not connection.in_transaction:
                self._connection = None
                connection.close()

    def after_fork_in_parent(self) -> None:
        """Let other threads go on."""
        if self._resting:
            self._resting = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's connection without closing it."""
        self._lock = threading.RLock()
        self._resting = self._in_transaction = False
        connection, self._connection = self._connection, None
        if connection is not None:
            # Closing it would act on the parent's locks, and so would its destructor: it gets a
            # reference that nobody ever gives back.
            pythonapi.Py_IncRef(py_object(connection))

    # -- inside -------------------------------------------------------------

    def _attempt(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run `action`, and again while somebody else holds the lock it needs."""
        with self._lock:
            try:
                return action(self._open_connection())
            except sqlite3.Error as exc:
                if not errors.is_busy(exc):
                    raise self._failed(exc) from exc
            return self._attempt_again(action)

    def _attempt_again(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Run `action` after pauses until nobody else holds the lock, or the time is up."""
        pause = FIRST_PAUSE
        deadline = time.monotonic() + self.options.busy_timeout
        while True:
            time.sleep(pause * random.random())
            pause = min(pause * 2, LONGEST_PAUSE)
            try:
                return action(self._open_connection())
            except sqlite3.Error as exc:
                if not errors.is_busy(exc) or time.monotonic() >= deadline:
                    raise self._failed(exc) from exc

    def _open_connection(self) -> sqlite3.Connection:
        connection = self._connection
        if connection is None:
            return self._open()
        if time.monotonic() >= self._next_check and not self._leads_here():
            self.close()
            if not self._forgiving:
                raise errors.DatabaseMissing(E_REPLACED.format(path=self.path))
            return self._open()
        if connection.in_transaction and not self._in_transaction:
            # An exception from a signal handler hit right after BEGIN.
            connection.rollback()
        return connection

    def _leads_here(self) -> bool:
        """Tell whether the path still leads to the file that is open."""
        self._next_check = time.monotonic() + INODE_CHECK_INTERVAL
        return _inode(self.path) == self._inode

    def _open(self) -> sqlite3.Connection:
        create_file(self.path, self.options.mode)
        connection = sqlite3.connect(
            self.path,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
            factory=Connection,
        )
        try:
            self._configure(connection)
            migrate(connection, self.path)
            (self.file_id,) = connection.execute("SELECT id FROM file").fetchone()
        except BaseException:
            connection.close()
            raise
        self._inode = _inode(self.path)
        self._next_check = time.monotonic() + INODE_CHECK_INTERVAL
        self._connection = connection
        self.generation += 1
        return connection

    def _configure(self, connection: sqlite3.Connection) -> None:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise errors.DatabaseUnavailable(E_NO_WAL.format(path=self.path, mode=mode))
        connection.execute(f"PRAGMA synchronous = {self.options.synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {self.options.checkpoint:d}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA secure_delete = FAST")
        connection.create_function("topic_matches", 2, topic_matches, deterministic=True)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.rollback()
        except sqlite3.Error:
            # The error that brought us here is the one to report; a new connection starts clean.
            self.close()

    def _failed(self, exc: sqlite3.Error) -> errors.DatabaseError:
        error = errors.translate(exc, self.path, self.options.busy_timeout)
        if not isinstance(error, errors.DatabaseLocked):
            self.close()
        return error


def _begin(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("BEGIN IMMEDIATE")
    return connection


def _inode(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
