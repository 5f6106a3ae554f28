"""Choosing which messages a consumer gets next, and claiming them.

All functions work on a connection that holds the write lock, so that what was chosen is still
there to be claimed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.statements import read_statements

__all__ = ("SQL", "choose", "claim", "delayed", "has_work", "next_due", "promote", "take")

SQL = read_statements(Path(__file__).with_name("sql") / "messages.sql")

#: Most delayed messages that one transaction makes ready, so that it does not take long.
PROMOTE_LIMIT = 500

Row = tuple[Any, ...]


def has_work(database: Database, queues: Sequence[str], now: float) -> bool:
    """Tell, without taking the write lock, whether any of the queues has something to deliver."""
    return any(
        database.read(SQL["ready"], (queue, 1)) or database.read(SQL["due"], (queue, now))
        for queue in queues
    )


def next_due(database: Database, queues: Sequence[str]) -> float | None:
    """Return when the first delayed message of the queues is due (seconds since 1970)."""
    first = None
    for queue in queues:
        ((due,),) = database.read(SQL["next_due"], (queue,))
        if due is not None and (first is None or due < first):
            first = due
    return first


def delayed(database: Database, queues: Iterable[str], limit: int) -> list[Row]:
    """Return the delayed messages of the queues that are due next, at most `limit`.

    Returns:
        rows of due time, redelivered, deliveries, envelope and body.
    """
    rows = [row for queue in queues for row in database.read(SQL["delayed"], (queue, limit))]
    return sorted(rows, key=itemgetter(0))[:limit]


def promote(connection: Connection, queues: Sequence[str], now: float) -> bool:
    """Make delayed messages that are due ready; return whether there may be more of them."""
    more = False
    for queue in queues:
        if connection.execute(SQL["due"], (queue, now)).fetchone():
            done = connection.execute(SQL["promote"], (queue, now, PROMOTE_LIMIT)).rowcount
            more = more or done == PROMOTE_LIMIT
    return more


def choose(connection: Connection, queues: Sequence[str], limit: int) -> list[int]:
    """Return the ids of the next messages, at most `limit`.

    Lower priority numbers go first whatever their queue. Among equals the queues take turns,
    beginning with the first of `queues`.
    """
    if len(queues) == 1:
        rows = connection.execute(SQL["ready"], (queues[0], limit)).fetchall()
        return [row[1] for row in rows]
    candidates = []
    for place, queue in enumerate(queues):
        turn, last_priority = 0, None
        for priority, message_id in connection.execute(SQL["ready"], (queue, limit)):
            turn = turn + 1 if priority == last_priority else 0
            last_priority = priority
            candidates.append((priority, turn, place, message_id))
    candidates.sort()
    return [message_id for _, _, _, message_id in candidates[:limit]]


def claim(connection: Connection, ids: Sequence[int], number: int) -> list[Row]:
    """Put the messages under the claim `number`; return their rows in the order of `ids`."""
    rows = connection.execute(SQL["claim"], (number, json.dumps(ids))).fetchall()
    return _in_order(rows, ids)


def take(connection: Connection, ids: Sequence[int]) -> list[Row]:
    """Remove the messages; return their rows in the order of `ids`."""
    return _in_order(connection.execute(SQL["take"], (json.dumps(ids),)).fetchall(), ids)


def _in_order(rows: list[Row], ids: Sequence[int]) -> list[Row]:
    if len(rows) > 1:
        place = {message_id: index for index, message_id in enumerate(ids)}
        rows.sort(key=lambda row: place[row[0]])
    return rows
