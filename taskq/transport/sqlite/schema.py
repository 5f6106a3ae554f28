"""Makes the database file and brings its tables to this version."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from taskq.exceptions import ImproperlyConfigured
from taskq.transport.sqlite import errors
from taskq.transport.sqlite.statements import read_script

__all__ = ("APPLICATION_ID", "create_file", "migrate")

#: Marks the file as ours ("taskq" in a phone's digits); SQLite keeps it in the file's header.
APPLICATION_ID = 82757
#: Script that brings a file from version i to version i + 1; only ever append.
MIGRATIONS = ("schema.sql", "published_once.sql")

#: First SQLite that returns the rows it changes.
OLDEST_SQLITE = (3, 35)

E_OLD_SQLITE = (
    "sqlite:// needs SQLite {oldest} or newer; this Python was built with {found}. Use another "
    "build of Python, or another broker and result backend."
)
E_NO_DIRECTORY = (
    "Cannot open the database {path}: the directory {directory} does not exist. Create it "
    "(mkdir -p {directory}) or correct the URL."
)
E_FOREIGN = (
    "The file {path} is a database of another program. Give taskq a file of its own: the URL "
    "names the file, which is created when it does not exist."
)
E_NEWER = (
    "The database {path} was written by a newer taskq (version {found} of the file, this one "
    "knows {known}). Upgrade taskq, or name another file."
)


def create_file(path: str, mode: int) -> None:
    """Create an empty file with safe permissions if there is none; SQLite would let all read.

    Raises:
        taskq.exceptions.ImproperlyConfigured: the SQLite library is too old.
        taskq.transport.sqlite.errors.DatabaseError: the file cannot be created; says why.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise ImproperlyConfigured(E_OLD_SQLITE.format(oldest=oldest, found=sqlite3.sqlite_version))
    try:
        # Only ever a new file: closing a descriptor of an open database would drop its locks.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode))
    except FileExistsError:
        return
    except FileNotFoundError as exc:
        directory = os.path.dirname(path)
        raise errors.DatabaseMissing(E_NO_DIRECTORY.format(path=path, directory=directory)) from exc
    except PermissionError as exc:
        raise errors.DatabaseReadOnly(errors.E_READ_ONLY.format(path=path)) from exc
    except OSError as exc:
        raise errors.DatabaseMissing(
            errors.E_CANNOT_OPEN.format(path=path, reason=exc.strerror)
        ) from exc


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the schema to this version, in one transaction."""
    known = len(MIGRATIONS)
    if _header(connection) == (APPLICATION_ID, known):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        application_id, found = _header(connection)
        if application_id != APPLICATION_ID and not _is_empty(connection):
            raise errors.DatabaseCorrupt(E_FOREIGN.format(path=path))
        if found > known:
            raise errors.DatabaseCorrupt(E_NEWER.format(path=path, found=found, known=known))
        for name in MIGRATIONS[found:]:
            for statement in read_script(Path(__file__).with_name(name)):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
        connection.execute(f"PRAGMA user_version = {known:d}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.rollback()
        raise


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return application_id, version


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return bool(tables == 0)
