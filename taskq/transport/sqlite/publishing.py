"""Publishing: a message becomes one row per queue that it is routed to, in one transaction."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from taskq.transport.sqlite import envelope as envelopes
from taskq.transport.sqlite.bell import messages_bell, ring
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.routing import Routing
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQL", "Publisher", "UndeliverableWarning")

SQL = read_statements(Path(__file__).with_name("sql") / "messages.sql")

#: A message as made by `Channel.prepare_message`, its exchange and its routing key.
Triple = tuple[dict[str, Any], str, str]
#: The statement that publishes a message, the type of its exchange, and the parameters.
Prepared = tuple[str, str, tuple[Any, ...]]

#: Exchange type -> statement that delivers to the bound queues.
STATEMENTS = {
    "direct": SQL["publish_direct"],
    "topic": SQL["publish_topic"],
    "fanout": SQL["publish_fanout"],
}
#: To the queue that the routing key names; what the nameless exchange does.
PUBLISH = SQL["publish"]

W_UNDELIVERABLE = (
    "No queue is bound to the exchange {exchange!r} for the routing key {routing_key!r}; the "
    "message went to {queue!r}."
)


class UndeliverableWarning(UserWarning):
    """A message had no queue to go to and went to the transport's ``deadletter_queue``."""


class Publisher:
    """Writes messages. One per connection; any thread may use it.

    Parameters:

    - `database`: where to.
    - `routing`: knows the types of exchanges.
    - `deadletter_queue`: queue for messages that no binding wants; they are dropped without one.
    """

    def __init__(
        self, database: Database, routing: Routing, deadletter_queue: str | None = None
    ) -> None:
        self._database = database
        self._routing = routing
        self._deadletter_queue = deadletter_queue
        self._bell = messages_bell(database)

    def publish(self, message: dict[str, Any], exchange: str, routing_key: str) -> None:
        """Store one message, as made by `Channel.prepare_message`, in its queues."""
        if exchange:
            stored = self._publish_to_exchange(message, exchange, routing_key)
        else:
            stored = self._database.write(PUBLISH, _row(message, "", routing_key))
        if stored:
            ring(self._database, self._bell)

    def publish_many(self, messages: Iterable[Triple]) -> None:
        """Store ``(message, exchange, routing key)`` triples: all of them, or none on an error."""
        self._store([self._prepared(*triple) for triple in messages])

    def publish_once(self, messages: Iterable[Triple], lifetime: float, scope: str) -> None:
        """Store those of the triples whose messages' ids were not stored by this before.

        Parameters:
            messages: the triples; the id of a message is its ``correlation_id``.
            lifetime: seconds for which the ids are remembered.
            scope: ids are the same only within a scope.
        """
        triples = list(messages)
        ids = [message["properties"].get("correlation_id") for message, _, _ in triples]
        keys = [key and f"{scope}{key}" for key in ids]
        self._store([self._prepared(*triple) for triple in triples], keys, lifetime)

    def _prepared(self, message: dict[str, Any], exchange: str, routing_key: str) -> Prepared:
        return *self._statement(exchange), _row(message, exchange, routing_key)

    def _store(
        self, prepared: list[Prepared], ids: list[str | None] | None = None, lifetime: float = 0
    ) -> None:
        """Store messages in one transaction; with `ids` those whose ids are new, for a lifetime."""
        if not prepared:
            return
        undelivered: list[tuple[Any, ...]] = []
        with self._database.transaction() as connection:
            if ids is not None:
                prepared = _not_published(connection, prepared, ids, lifetime)
            rows: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
            for statement, kind, row in prepared:
                rows.setdefault((statement, kind), []).append(row)
            for (statement, kind), batch in rows.items():
                if kind and self._deadletter_queue:
                    undelivered += [
                        row for row in batch if not connection.execute(statement, row).rowcount
                    ]
                else:
                    connection.executemany(statement, batch)
            for row in undelivered:
                connection.execute(PUBLISH, (self._deadletter_queue, *row[1:7]))
        for row in undelivered:
            self._warn(row[7], row[0])
        ring(self._database, self._bell)

    def _statement(self, exchange: str) -> tuple[str, str]:
        """Return the statement that publishes to an exchange, and the exchange's type."""
        if not exchange:
            return PUBLISH, ""
        kind = self._routing.exchange_type(exchange)
        return STATEMENTS[kind], kind

    def _publish_to_exchange(self, message: dict[str, Any], exchange: str, routing_key: str) -> int:
        # Events and broadcasts are mostly sent with nobody listening: that takes no write lock.
        if self._routing.has_bindings(exchange):
            row = _row(message, exchange, routing_key)
            stored = self._database.write(self._statement(exchange)[0], row)
            if stored:
                return stored
            if self._routing.forget_type(exchange) != self._routing.exchange_type(exchange):
                # Another process has declared it anew with another type meanwhile.
                return self._database.write(self._statement(exchange)[0], row)
        if not self._deadletter_queue:
            return 0
        self._warn(exchange, routing_key)
        row = _row(message, exchange, routing_key)
        return self._database.write(PUBLISH, (self._deadletter_queue, *row[1:7]))

    def _warn(self, exchange: str, routing_key: str) -> None:
        warnings.warn(
            UndeliverableWarning(
                W_UNDELIVERABLE.format(
                    exchange=exchange, routing_key=routing_key, queue=self._deadletter_queue
                )
            ),
            stacklevel=4,
        )


def _not_published(
    connection: sqlite3.Connection,
    prepared: list[Prepared],
    ids: list[str | None],
    lifetime: float,
) -> list[Prepared]:
    """Return those of the messages whose ids are new or None, and remember the new ones."""
    now = time.time()
    connection.execute(SQL["forget_published"], (now,))
    return [
        one
        for one, key in zip(prepared, ids, strict=True)
        if key is None or connection.execute(SQL["first_time"], (key, now + lifetime)).rowcount > 0
    ]


def _row(message: dict[str, Any], exchange: str, routing_key: str) -> tuple[Any, ...]:
    """Return the parameters of the publishing statements."""
    properties = message["properties"]
    properties["delivery_info"].update(exchange=exchange, routing_key=routing_key)
    now = time.time()
    row = (
        routing_key,
        envelopes.priority(properties),
        envelopes.due_time(message["headers"], now),
        envelopes.expiry(message, now),
        envelopes.encode(message),
        envelopes.encode_body(message["body"]),
        now,
    )
    return (*row, exchange) if exchange else row
