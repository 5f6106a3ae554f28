"""Exchanges, queues and bindings, shared by all processes because they live in the file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed

from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQL", "EXCHANGE_TYPES", "QueueSpec", "Routing", "drop_queue", "drop_unused_queues")

SQL = read_statements(Path(__file__).with_name("sql") / "routing.sql")
MESSAGES = read_statements(Path(__file__).with_name("sql") / "messages.sql")

EXCHANGE_TYPES = frozenset({"direct", "topic", "fanout"})

E_NOT_FOUND = "NOT_FOUND - no {kind} {name!r} in {path}"
E_INEQUIVALENT = (
    "PRECONDITION_FAILED - the exchange {name!r} in {path} is of type {found!r} and was declared "
    "as {wanted!r}. Use one type everywhere, or delete the exchange first."
)
E_UNKNOWN_TYPE = (
    "COMMAND_INVALID - the exchange {name!r} has the type {wanted!r}; sqlite:// knows {known}."
)


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """How a queue was declared."""

    durable: bool = False
    exclusive: bool = False
    auto_delete: bool = False
    #: Seconds without a consumer after which the queue is deleted.
    expires: float | None = None
    #: Seconds that a message may wait in the queue.
    message_ttl: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_arguments(
        cls, arguments: dict[str, Any] | None, *, durable: bool, exclusive: bool, auto_delete: bool
    ) -> QueueSpec:
        """Read ``x-expires`` and ``x-message-ttl`` (milliseconds) of a declaration."""
        arguments = dict(arguments or {})
        return cls(
            durable=bool(durable),
            exclusive=bool(exclusive),
            auto_delete=bool(auto_delete),
            expires=_seconds(arguments.get("x-expires")),
            message_ttl=_seconds(arguments.get("x-message-ttl")),
            arguments=arguments,
        )

    def as_row(self) -> tuple[Any, ...]:
        """Return the columns of the queue table."""
        return (
            int(self.durable),
            int(self.exclusive),
            int(self.auto_delete),
            self.expires,
            self.message_ttl,
            json.dumps(self.arguments, sort_keys=True, default=repr),
        )


class Routing:
    """Declares and deletes what messages are routed by. One per connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._types: dict[str, str] = {}

    # -- exchanges ----------------------------------------------------------

    def exchange_type(self, exchange: str) -> str:
        """Return the type of an exchange; one that was never declared counts as direct."""
        kind = self._types.get(exchange)
        if kind is None:
            rows = self._database.read(SQL["exchange"], (exchange,))
            kind = self._types[exchange] = rows[0][0] if rows else "direct"
        return kind

    def forget_type(self, exchange: str) -> str:
        """Have the type read again the next time; return the one that was remembered."""
        return self._types.pop(exchange, "")

    def declare_exchange(
        self,
        name: str,
        kind: str,
        *,
        durable: bool,
        auto_delete: bool,
        arguments: dict[str, Any] | None,
    ) -> None:
        """Create an exchange unless it is there.

        Raises:
            kombu.exceptions.ChannelError: the type is unknown, or not the one it has.
        """
        path = self._database.path
        if kind not in EXCHANGE_TYPES:
            known = ", ".join(sorted(EXCHANGE_TYPES))
            text = E_UNKNOWN_TYPE.format(name=name, wanted=kind, known=known)
            raise ChannelError(text, (40, 10), "Channel.exchange_declare")
        self._types.pop(name, None)
        found = self._database.read(SQL["exchange"], (name,))
        if not found:
            row = (name, kind, int(durable), int(auto_delete), _json(arguments))
            self._database.write(SQL["declare_exchange"], row)
            found = self._database.read(SQL["exchange"], (name,))
        if found and found[0][0] != kind:
            text = E_INEQUIVALENT.format(name=name, path=path, found=found[0][0], wanted=kind)
            raise PreconditionFailed(text, (40, 10), "Channel.exchange_declare")

    def require_exchange(self, name: str) -> None:
        """Raise `ChannelError` (404) if the exchange was never declared."""
        if not self._database.read(SQL["exchange"], (name,)):
            raise self.not_found("exchange", name)

    def delete_exchange(self, name: str, *, if_unused: bool) -> None:
        """Delete an exchange and its bindings; with `if_unused` only one without bindings."""
        with self._database.transaction() as connection:
            if if_unused and connection.execute(SQL["has_bindings"], (name,)).fetchone():
                return
            connection.execute(SQL["unbind_exchange"], (name,))
            connection.execute(SQL["delete_exchange"], (name,))
        self._types.pop(name, None)

    # -- bindings -----------------------------------------------------------

    def has_bindings(self, exchange: str) -> bool:
        """Tell whether any queue is bound to the exchange."""
        return bool(self._database.read(SQL["has_bindings"], (exchange,)))

    def bind(
        self, queue: str, exchange: str, routing_key: str, arguments: dict[str, Any] | None
    ) -> None:
        """Bind a queue to an exchange, once."""
        if self._database.read(SQL["has_binding"], (exchange, routing_key, queue)):
            return
        self.require_exchange(exchange)
        self._database.write(SQL["bind"], (exchange, routing_key, queue, _json(arguments)))

    def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Undo one binding."""
        with self._database.transaction() as connection:
            connection.execute(SQL["unbind"], (exchange, routing_key, queue))
            connection.execute(SQL["unused_exchanges"], (exchange,))

    def bindings(self, exchange: str) -> list[tuple[str, str]]:
        """Return ``(queue, routing key)`` of every binding of an exchange."""
        return [
            (queue, key)
            for queue, key in self._database.read(SQL["exchange_bindings"], (exchange,))
        ]

    def all_bindings(self) -> list[tuple[str, str, str]]:
        """Return ``(queue, exchange, routing key)`` of every binding there is."""
        return [(row[0], row[1], row[2]) for row in self._database.read(SQL["all_bindings"])]

    # -- queues -------------------------------------------------------------

    def queue_exists(self, queue: str) -> bool:
        """Tell whether the queue was declared, or has messages without having been declared."""
        if self._database.read(SQL["queue"], (queue,)):
            return True
        return self.count_ready(queue) > 0

    def declare_queue(self, queue: str, spec: QueueSpec) -> None:
        """Create the queue, or change it to what was declared now."""
        row = spec.as_row()
        found = self._database.read(SQL["queue"], (queue,))
        if not found or found[0] != row:
            self._database.write(SQL["declare_queue"], (queue, *row, time.time()))
        elif spec.expires is not None:
            self._database.write(SQL["touch_queue"], (queue, time.time()))

    def delete_queue(self, queue: str, *, if_unused: bool, if_empty: bool) -> int:
        """Delete a queue with its bindings and messages; return the number of messages."""
        with self._database.transaction() as connection:
            if if_unused and _count(connection, SQL["consumers"], queue):
                return 0
            waiting = _count(connection, MESSAGES["count_ready"], queue)
            waiting += _count(connection, MESSAGES["count_delayed"], queue)
            if if_empty and waiting:
                return 0
            drop_queue(connection, queue, time.time())
            return waiting

    def purge(self, queue: str) -> int:
        """Delete the messages that nobody holds, delayed ones included; return their number."""
        with self._database.transaction() as connection:
            ready = connection.execute(MESSAGES["purge_ready"], (queue,)).rowcount
            return ready + connection.execute(MESSAGES["purge_delayed"], (queue,)).rowcount

    def count_ready(self, queue: str) -> int:
        """Return the number of messages that could be delivered now."""
        count: int = self._database.read(MESSAGES["count_ready"], (queue,))[0][0]
        return count

    def count_consumers(self, queue: str) -> int:
        """Return the number of consumers of a queue."""
        count: int = self._database.read(SQL["consumers"], (queue,))[0][0]
        return count

    def not_found(self, kind: str, name: str) -> NotFound:
        """Return the error for a missing exchange or queue."""
        text = E_NOT_FOUND.format(kind=kind, name=name, path=self._database.path)
        return NotFound(text, (50, 10), f"Channel.{kind}_declare")


def drop_queue(connection: Connection, queue: str, now: float) -> None:
    """Delete a queue with all it has, inside of a transaction."""
    exchanges = connection.execute(SQL["queue_exchanges"], (queue,)).fetchall()
    connection.execute(SQL["unbind_queue"], (queue,))
    for row in exchanges:
        connection.execute(SQL["unused_exchanges"], row)
    for statement in ("purge_ready", "purge_delayed", "purge_claimed"):
        connection.execute(MESSAGES[statement], (queue,))
    temporary = connection.execute(SQL["is_temporary"], (queue,)).fetchone()
    if temporary and temporary[0]:
        connection.execute(SQL["bury_queue"], (queue, now))
    else:
        connection.execute(SQL["delete_queue"], (queue,))


def drop_unused_queues(
    connection: Connection, queues: Iterable[str], now: float, *, disconnected: bool
) -> None:
    """Of queues that just lost a consumer, delete those that were to go with their last one.

    Parameters:
        connection: in a transaction.
        queues: names.
        now: seconds since 1970.
        disconnected: the consumer's whole connection is gone, and exclusive queues with it.
    """
    for queue in queues:
        connection.execute(SQL["touch_queue"], (queue, now))
        to_go = connection.execute(SQL["is_to_go"], (queue, disconnected)).fetchone()
        if to_go and to_go[0] and not _count(connection, SQL["consumers"], queue):
            drop_queue(connection, queue, now)


def _count(connection: Connection, statement: str, queue: str) -> int:
    count: int = connection.execute(statement, (queue,)).fetchone()[0]
    return count


def _json(arguments: dict[str, Any] | None) -> str | None:
    return json.dumps(arguments, default=repr) if arguments else None


def _seconds(milliseconds: Any) -> float | None:
    try:
        return None if milliseconds is None else float(milliseconds) / 1000
    except (TypeError, ValueError):
        return None
