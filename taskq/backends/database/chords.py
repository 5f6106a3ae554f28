"""Counting chords in the database, in tables of our own beside Celery's.

The invariant: a header task is counted in the transaction that records it, once; the one whose
count completes the chord claims it in the same transaction.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from taskq import states
from taskq.backends.database.models import Models, utc_now
from taskq.backends.database.statements import insert_if_absent, upsert
from taskq.exceptions import ChordError

__all__ = ("ChordCounter",)

#: How often a transaction that the database gave up (a deadlock, a busy file) is tried again.
MAX_TRIES = 5


class ChordCounter:
    """The chords that are being counted."""

    def __init__(self, models: Models) -> None:
        self._chord = models.chord
        self._part = models.chord_part

    def set_size(self, engine: sa.Engine, group_id: str, size: int) -> None:
        """Record how many tasks the header of a chord has."""
        row = {"group_id": group_id, "size": size, "done": 0, "date_done": utc_now()}
        with engine.begin() as connection:
            upsert(connection, self._chord, "group_id", row, changes={"size": size})

    def count(self, engine: sa.Engine, part: dict[str, Any]) -> bool:
        """Record a header task that is done; return whether it is to send the body.

        A task delivered again is not counted again. If it had completed the chord and its worker
        died before it could send the body, it may send it.

        Parameters:
            engine: the database.
            part: a row of the table of header tasks.
        """
        for attempt in range(1, MAX_TRIES + 1):
            try:
                with engine.begin() as connection:
                    return self._count(connection, part)
            except OperationalError:
                if attempt == MAX_TRIES:
                    raise
        raise AssertionError("unreachable")  # pragma: no cover

    def _count(self, connection: sa.Connection, part: dict[str, Any]) -> bool:
        chord, group_id = self._chord, part["group_id"]
        if insert_if_absent(connection, self._part, part):
            upsert(
                connection,
                chord,
                "group_id",
                {"group_id": group_id, "done": 1, "date_done": utc_now()},
                changes={"done": chord.c.done + 1},
            )
        # The row is locked by the update above, so what is read here is the last word.
        found = connection.execute(
            sa.select(chord.c.size, chord.c.done, chord.c.claimant)
            .where(chord.c.group_id == group_id)
            .with_for_update()
        ).first()
        if found is None or not found.size or found.done < found.size:
            return False
        if found.claimant is None:
            claim = chord.update().where(chord.c.group_id == group_id)
            connection.execute(claim.values(claimant=part["task_id"]))
            return True
        return bool(found.claimant == part["task_id"])

    def results(self, engine: sa.Engine, group_id: str, decode: Any) -> list[Any]:
        """Return the results of a header in its order.

        Parameters:
            engine: the database.
            group_id: id of the chord.
            decode: makes a state and a stored result a value or an exception.

        Raises:
            ChordError: a task of the header failed.
        """
        part = self._part
        query = sa.select(part).where(part.c.group_id == group_id)
        with engine.connect() as connection:
            rows = connection.execute(query.order_by(part.c.position, part.c.date_done)).all()
        values = []
        for row in rows:
            value = decode(row.status, row.result)
            if row.status in states.PROPAGATE_STATES:
                raise ChordError(f"Dependency {row.task_id} raised {value!r}") from value
            values.append(value)
        return values

    def delete(self, engine: sa.Engine, group_id: str) -> None:
        """Remove a chord that is over."""
        with engine.begin() as connection:
            for table in (self._part, self._chord):
                connection.execute(table.delete().where(table.c.group_id == group_id))

    def delete_older(self, engine: sa.Engine, oldest: Any) -> None:
        """Remove chords whose last news are from before `oldest`."""
        with engine.begin() as connection:
            for table in (self._part, self._chord):
                connection.execute(table.delete().where(table.c.date_done < oldest))
