"""Keys and values in the result table, with states and expiry."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taskq.transport.sqlite.bell import results_bell, ring
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseMissing
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQL", "ResultStore")

SQL = read_statements(Path(__file__).with_name("results.sql"))

#: Number of writes of this process after which it looks for expired results.
SWEEP_EVERY = 200
#: Rows looked at then. More than SWEEP_EVERY, so that sweeping outruns writing.
SWEEP_SIZE = 400
#: Rows deleted per transaction by `delete_expired`.
DELETE_SIZE = 2000


class ResultStore:
    """The result table as a key-value store. Any thread may use it.

    Parameters:

    - `database`: the connection.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bell = results_bell(database)
        self._writes = 0
        self._swept = 0

    def store_state(self, key: str, state: str, value: Any, expires: float | None) -> None:
        """Store the meta of a task, unless a SUCCESS of it is stored.

        Parameters:
            key: the task's key.
            state: the task's state.
            value: the encoded meta.
            expires: seconds until it is deleted, None for never.
        """
        now = time.time()
        row = (key, state, _moment(now, expires), value, now)
        try:
            self._store(row)
        except DatabaseMissing:
            # The file was deleted since it was last looked at: the result goes to the new one.
            self._store(row)
        self._count_write(now)

    def _store(self, row: tuple[Any, ...]) -> None:
        if self._database.write(SQL["store_state"], row):
            ring(self._database, self._bell)

    def set(self, key: str, value: Any, expires: float | None) -> None:
        """Store any value under a key; `expires` as for `store_state`."""
        now = time.time()
        self._database.write(SQL["set"], (key, _moment(now, expires), value))
        self._count_write(now)

    def get(self, key: str) -> Any:
        """Return the value under a key, or None."""
        rows = self._database.read(SQL["get"], (key, time.time()))
        return rows[0][0] if rows else None

    def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of those of the keys that there are."""
        return dict(self._database.read(SQL["get_many"], (json.dumps(keys), time.time())))

    def delete(self, key: str) -> bool:
        """Delete a key; return whether it was there."""
        return self._database.write(SQL["delete"], (key,)) > 0

    def increment(self, key: str) -> int:
        """Add one to the number under a key and return it."""
        with self._database.transaction() as connection:
            connection.execute(SQL["increment"], (key, time.time()))
            rows = connection.execute(SQL["get"], (key, 0)).fetchall()
        return int(rows[0][0])

    def expire(self, key: str, seconds: float) -> None:
        """Have a key deleted in so many seconds."""
        self._database.write(SQL["expire"], (key, time.time() + seconds))

    def delete_expired(self) -> int:
        """Delete every expired row, a transaction for every few thousand rows; return how many."""
        now = time.time()
        deleted = last = 0
        while rows := self._database.read(SQL["oldest"], (last, DELETE_SIZE)):
            end = rows[-1][0]
            deleted += self._database.write(SQL["delete_expired"], (last, end, now))
            last = end
        return deleted

    def _count_write(self, now: float) -> None:
        self._writes += 1
        if self._writes % SWEEP_EVERY == 0:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Delete what has expired among the next rows in the order they were written."""
        rows = self._database.read(SQL["oldest"], (self._swept, SWEEP_SIZE))
        if any(expires_at is not None and expires_at <= now for _, expires_at in rows):
            # Where there was something there may be more: the next look begins here again.
            self._database.write(SQL["delete_expired"], (self._swept, rows[-1][0], now))
        else:
            self._swept = rows[-1][0] if len(rows) == SWEEP_SIZE else 0


def _moment(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds
