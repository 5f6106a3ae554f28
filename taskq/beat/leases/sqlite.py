"""The lease in the embedded database: in one transaction with the messages, if it is the broker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskq.beat.leases.base import (
    REMEMBERED,
    BrokerLease,
    Fenced,
    Holder,
    Intent,
    Lease,
    OutboxLease,
    Run,
)
from taskq.transport.sqlite.bell import messages_bell, ring
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQLiteBrokerLease", "SQLiteLease", "SQLiteOutboxLease")

SQL = read_statements(Path(__file__).with_name("sqlite.sql"))


class SQLiteLease(Lease):
    """The lease in a file of the embedded broker or result backend.

    Parameters:
        connection: of our SQLite transport.
        name: what tells it from the leases of other apps there.
    """

    #: Statements that make the tables.
    tables: tuple[str, ...] = ("create_lease", "create_run")

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = name
        for statement in self.tables:
            self._database.write(SQL[statement])
        self._database.write(SQL["begin"], (name,))

    @property
    def _database(self) -> Any:
        return self._connection.default_channel.connection.database

    def look(self) -> Holder:
        ((owner, fence, count),) = self._database.read(SQL["look"], (self._name,))
        return Holder(owner, fence, count)

    def take(self, owner: str, seen: Holder) -> int | None:
        taken = self._database.write(
            SQL["take"], (self._name, owner, seen.owner, seen.fence, seen.count)
        )
        return seen.fence + 1 if taken else None

    def renew(self, fence: int) -> bool:
        return bool(self._database.write(SQL["renew"], (self._name, fence)))

    def release(self, fence: int) -> None:
        self._database.write(SQL["release"], (self._name, fence))

    def runs(self) -> dict[str, Run]:
        rows = self._database.read(SQL["runs"], (self._name,))
        return {entry: Run.from_text(run) for entry, run in rows}

    def seed(self, runs: Mapping[str, Run]) -> None:
        with self._database.transaction() as connection:
            for entry, run in runs.items():
                connection.execute(SQL["seed"], (self._name, entry, run.to_text()))

    def close(self) -> None:
        self._connection.release()

    def _check_fence(self, connection: Any, fence: int) -> None:
        ((_, found, _),) = connection.execute(SQL["look"], (self._name,)).fetchall()
        if found != fence:
            raise Fenced


class SQLiteBrokerLease(SQLiteLease, BrokerLease):
    """The lease in the file that is the broker."""

    def commit(self, fence: int, intent: Intent, channel: Any) -> None:
        database = channel.connection.database
        row = (self._name, intent.entry)
        with database.transaction() as connection:
            self._check_fence(connection, fence)
            last = connection.execute(SQL["run"], row).fetchone()
            if last and Run.from_text(last[0]).key == intent.run.key:
                return
            connection.execute(SQL["record"], (*row, intent.run.to_text()))
            for draft in intent.messages:
                # On the same connection, so in this transaction.
                draft.publish(channel)
        if intent.messages:
            # Those who were woken before the transaction's end have seen nothing.
            ring(database, messages_bell(database))


class SQLiteOutboxLease(SQLiteLease, OutboxLease):
    """The lease in a file for the results."""

    tables = (*SQLiteLease.tables, "create_outbox", "create_first")

    def take(self, owner: str, seen: Holder) -> int | None:
        fence = super().take(owner, seen)
        if fence is not None:
            for statement in ("forget_outbox", "forget_first"):
                self._database.write(SQL[statement], (time.time() - REMEMBERED,))
        return fence

    def intend(self, fence: int, intent: Intent) -> None:
        row = (intent.run.key, self._name, intent.to_text(), time.time())
        with self._database.transaction() as connection:
            self._check_fence(connection, fence)
            connection.execute(SQL["intend"], row)

    def settle(self, fence: int, intent: Intent, *, twice: bool) -> None:
        run = intent.run
        with self._database.transaction() as connection:
            self._check_fence(connection, fence)
            connection.execute(SQL["record"], (self._name, intent.entry, run.to_text()))
            connection.execute(SQL["close_twice" if twice else "close_once"], (run.key,))

    def intents(self) -> Sequence[Intent]:
        rows = self._database.read(SQL["intents"], (self._name,))
        return Intent.from_texts(text for (text,) in rows)

    def is_first(self, key: str, task_id: str, copy: str) -> bool:
        if not self._database.read(SQL["is_in_outbox"], (key,)):
            return True
        self._database.write(SQL["come"], (task_id, copy, time.time()))
        ((first,),) = self._database.read(SQL["first"], (task_id,))
        return bool(first == copy)
