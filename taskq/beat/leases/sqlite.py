"""The lease in the embedded database: in one transaction with the messages, if it is the broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskq.beat.leases.base import Fenced, Holder, Lease, Prepared, Run
from taskq.transport import Connection
from taskq.transport.sqlite.bell import messages_bell, ring
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQLiteLease",)

SQL = read_statements(Path(__file__).with_name("sqlite.sql"))


class SQLiteLease(Lease):
    """The lease in a file of the embedded broker or result backend.

    Parameters:
        connection: of our SQLite transport.
        is_broker: the tasks' messages go to the same file.
    """

    def __init__(self, connection: Any, *, is_broker: bool) -> None:
        self._connection = connection
        self._is_broker = is_broker
        for statement in ("create_lease", "create_run", "begin"):
            self._database.write(SQL[statement])

    @classmethod
    def in_broker(cls, connection: Any) -> SQLiteLease:
        """Return the lease in the broker."""
        return cls(connection, is_broker=True)

    @classmethod
    def in_backend(cls, app: Any) -> SQLiteLease:
        """Return the lease in the result backend."""
        return cls(Connection(app.backend.url), is_broker=False)

    @property
    def _database(self) -> Any:
        return self._connection.default_channel.connection.database

    def look(self) -> Holder:
        ((owner, fence, count),) = self._database.read(SQL["look"])
        return Holder(owner, fence, count)

    def take(self, owner: str, seen: Holder) -> int | None:
        taken = self._database.write(SQL["take"], (owner, seen.owner, seen.fence, seen.count))
        return seen.fence + 1 if taken else None

    def renew(self, fence: int) -> bool:
        return bool(self._database.write(SQL["renew"], (fence,)))

    def release(self, fence: int) -> None:
        self._database.write(SQL["release"], (fence,))

    def runs(self) -> dict[str, Run]:
        return {name: Run.from_text(run) for name, run in self._database.read(SQL["runs"])}

    def seed(self, runs: Mapping[str, Run]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(SQL["seed"], [(n, run.to_text()) for n, run in runs.items()])

    def commit(
        self, fence: int, entry: str, run: Run, messages: Sequence[Prepared], channel: Any
    ) -> None:
        if not self._is_broker:
            if self.look().fence != fence:
                raise Fenced
            for message, exchange, routing_key in messages:
                channel.basic_publish(message, exchange=exchange, routing_key=routing_key)
            messages = ()
        database = channel.connection.database if self._is_broker else self._database
        with database.transaction() as connection:
            ((_, found, _),) = connection.execute(SQL["look"]).fetchall()
            if found != fence:
                raise Fenced
            connection.execute(SQL["record"], (entry, run.to_text()))
            for message, exchange, routing_key in messages:
                # On the same connection, so in this transaction.
                channel.basic_publish(message, exchange=exchange, routing_key=routing_key)
        if messages:
            # Those who were woken before the transaction's end have seen nothing.
            ring(database, messages_bell(database))

    def close(self) -> None:
        self._connection.release()
