"""What can be wrong with the database file, each with its remedy.

Every error names the file. All are `kombu.exceptions.OperationalError`, and the transport lists
them as connection errors, so that the usual retry policies apply.
"""

from __future__ import annotations

import sqlite3

from kombu.exceptions import OperationalError

__all__ = (
    "DatabaseCorrupt",
    "DatabaseError",
    "DatabaseFull",
    "DatabaseLocked",
    "DatabaseMissing",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "is_busy",
    "translate",
)


class DatabaseError(OperationalError):
    """An operation on the database file failed and was rolled back."""


class DatabaseUnavailable(DatabaseError):
    """The operation failed, and may succeed later, after connecting anew."""


class DatabaseLocked(DatabaseUnavailable):
    """Another process held the write lock for longer than ``busy_timeout``."""


class DatabaseFull(DatabaseUnavailable):
    """There is no room left for the database to grow."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database file or its directory may not be written."""


class DatabaseMissing(DatabaseUnavailable):
    """The database file cannot be opened or is no longer there."""


class DatabaseCorrupt(DatabaseError):
    """The file is not a database, is damaged, or belongs to another program.

    Trying again does not help, so this is the one error that is not `DatabaseUnavailable`.
    """

    #: A worker that meets it when it connects for the first time ends.
    permanent = True


E_LOCKED = (
    "The database {path} has been locked by another process for {busy_timeout:g} s. Find the "
    "process that keeps a transaction open (lsof {path}) or that was stopped in one, or raise "
    "busy_timeout in the URL."
)
E_FULL = (
    "No room to write to the database {path}: the disk or a quota is full. Free some space; "
    "what was stored before is safe, this operation was not done."
)
E_READ_ONLY = (
    "The database {path} cannot be written. Give this process write permission on the file and "
    "on its directory (SQLite keeps {path}-wal and {path}-shm beside it)."
)
E_CANNOT_OPEN = (
    "Cannot open the database {path}: {reason}. Its directory must exist and be writable for "
    "this process."
)
E_CORRUPT = (
    "The file {path} is damaged or is not an SQLite database: {reason}. Name another file in "
    "the URL, or move it away and save what can be saved with `sqlite3 FILE .recover`."
)
E_IO = (
    "Reading or writing the database {path} failed: {reason}. Check the disk and that the file "
    "is still there."
)
E_OTHER = "The database {path} refused an operation: {reason}."

_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

#: Primary result code of SQLite -> error class and message.
_BY_CODE: dict[int, tuple[type[DatabaseError], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseLocked, E_LOCKED),
    sqlite3.SQLITE_LOCKED: (DatabaseLocked, E_LOCKED),
    sqlite3.SQLITE_PROTOCOL: (DatabaseLocked, E_LOCKED),
    sqlite3.SQLITE_FULL: (DatabaseFull, E_FULL),
    sqlite3.SQLITE_READONLY: (DatabaseReadOnly, E_READ_ONLY),
    sqlite3.SQLITE_PERM: (DatabaseReadOnly, E_READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (DatabaseMissing, E_CANNOT_OPEN),
    sqlite3.SQLITE_CORRUPT: (DatabaseCorrupt, E_CORRUPT),
    sqlite3.SQLITE_NOTADB: (DatabaseCorrupt, E_CORRUPT),
    sqlite3.SQLITE_IOERR: (DatabaseUnavailable, E_IO),
}


def _primary_code(exc: sqlite3.Error) -> int:
    # Errors of the Python module itself (a closed connection) carry no code.
    return getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether `exc` only says that somebody else holds a lock right now."""
    return _primary_code(exc) in _BUSY_CODES


def translate(exc: sqlite3.Error, path: str, busy_timeout: float) -> DatabaseError:
    """Return the error that says what `exc` means for the file at `path`.

    Parameters:
        exc: as raised by the sqlite3 module.
        path: the database file.
        busy_timeout: seconds that were waited for a lock.
    """
    error_class, text = _BY_CODE.get(_primary_code(exc), (DatabaseUnavailable, E_OTHER))
    return error_class(text.format(path=path, reason=exc, busy_timeout=busy_timeout))
