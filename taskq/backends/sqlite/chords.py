"""Counting the header tasks of chords, each once, in transactions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.statements import read_statements

__all__ = ("ChordCounter", "Count")

SQL = read_statements(Path(__file__).with_name("chords.sql"))


@dataclass(frozen=True, slots=True)
class Count:
    """What counting a header task came to."""

    #: The chord is being counted: neither over nor expired.
    known: bool
    #: The caller is the one to send the body.
    claimed: bool


class ChordCounter:
    """The chord tables.

    Parameters:

    - `database`: the connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, chord_id: str, size: int, expires: float | None) -> None:
        """Begin to count a chord.

        Parameters:
            chord_id: id of the header's group.
            size: number of header tasks.
            expires: seconds after which the count is forgotten, None for never.
        """
        expires_at = None if expires is None else time.time() + expires
        with self._database.transaction() as connection:
            connection.execute(SQL["forget_parts"], (chord_id,))
            connection.execute(SQL["create"], (chord_id, size, expires_at))

    def set_size(self, chord_id: str, size: int) -> None:
        """Change the number of header tasks."""
        self._database.write(SQL["set_size"], (chord_id, size))

    def grow(self, chord_id: str) -> bool:
        """Add a header task; return False if the count is complete already or unknown."""
        return self._database.write(SQL["grow"], (chord_id,)) > 0

    def count(self, chord_id: str, task_id: str) -> Count:
        """Count a header task that is done, in one transaction with the claim of the chord."""
        with self._database.transaction() as connection:
            if connection.execute(SQL["add_part"], (chord_id, task_id)).rowcount > 0:
                connection.execute(SQL["count_part"], (chord_id,))
            claimed = connection.execute(SQL["claim"], (chord_id, task_id)).rowcount > 0
            status = connection.execute(SQL["status"], (chord_id,)).fetchone()
        return Count(known=status is not None and status[2] is None, claimed=claimed)

    def finish(self, chord_id: str) -> None:
        """Remember that the body was sent; a header task delivered late is not counted anew."""
        with self._database.transaction() as connection:
            connection.execute(SQL["mark_sent"], (chord_id, time.time()))
            connection.execute(SQL["forget_parts"], (chord_id,))

    def delete_expired(self) -> None:
        """Forget chords that have expired."""
        while rows := self._database.read(SQL["expired"], (time.time(),)):
            with self._database.transaction() as connection:
                for row in rows:
                    connection.execute(SQL["forget_parts"], row)
                    connection.execute(SQL["delete"], row)
