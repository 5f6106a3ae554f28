"""Writing a row whether or not it is there, in one statement where the database has one.

The invariant: a row that says SUCCESS is never changed by `store_task`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from taskq import states

__all__ = ("insert_if_absent", "store_task", "upsert")

Row = Mapping[str, Any]

#: Dialects with ``INSERT … ON CONFLICT``.
ON_CONFLICT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
#: Dialects with ``INSERT … ON DUPLICATE KEY``.
ON_DUPLICATE_KEY = ("mysql", "mariadb")


def store_task(connection: sa.Connection, table: sa.Table, row: Row) -> None:
    """Write the row of a task, unless the stored one says SUCCESS."""
    upsert(connection, table, "task_id", row, keep_where=(table.c.status, states.SUCCESS))


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    key: str,
    row: Row,
    *,
    keep_where: tuple[sa.Column[Any], str] | None = None,
    changes: Row | None = None,
) -> None:
    """Insert a row, or change the one with the same key.

    Parameters:
        connection: a connection.
        table: the table.
        key: name of the column with the unique key.
        row: values by column.
        keep_where: a column and the value with which the stored row stays as it is.
        changes: what to set in a stored row; the rest of `row` when None.
    """
    dialect = connection.dialect.name
    if changes is None:
        changes = {name: value for name, value in row.items() if name != key}
    if dialect in ON_CONFLICT:
        insert = ON_CONFLICT[dialect](table).values(dict(row))
        kept = keep_where and keep_where[0].is_distinct_from(keep_where[1])
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[table.c[key]], set_=dict(changes), where=kept
            )
        )
    elif dialect in ON_DUPLICATE_KEY:
        insert = mysql.insert(table).values(dict(row))
        connection.execute(insert.on_duplicate_key_update(_unless_kept(table, changes, keep_where)))
    else:
        _update_or_insert(connection, table, key, row, changes, keep_where)


def _unless_kept(
    table: sa.Table, changes: Row, keep_where: tuple[sa.Column[Any], str] | None
) -> list[tuple[str, Any]]:
    """Return assignments in order: the column that is looked at changes last."""
    if keep_where is None:
        return list(changes.items())
    column, value = keep_where
    ordered = sorted(changes.items(), key=lambda change: change[0] == column.name)
    return [
        (
            name,
            sa.case(
                (column == value, table.c[name]),
                else_=sa.literal(new, table.c[name].type),
            ),
        )
        for name, new in ordered
    ]


def _update_or_insert(
    connection: sa.Connection,
    table: sa.Table,
    key: str,
    row: Row,
    changes: Row,
    keep_where: tuple[sa.Column[Any], str] | None,
) -> None:
    """Do it in two statements, on databases without one for both."""
    same = table.c[key] == row[key]
    update = table.update().where(same)
    if keep_where is not None:
        column, value = keep_where
        update = update.where(sa.or_(column.is_(None), column != value))
    if connection.execute(update.values(dict(changes))).rowcount:
        return
    if connection.execute(sa.select(table.c[key]).where(same)).first() is not None:
        return
    if not insert_if_absent(connection, table, row):
        connection.execute(update.values(dict(changes)))


def insert_if_absent(connection: sa.Connection, table: sa.Table, row: Row) -> bool:
    """Insert a row unless one with its keys is there; return whether it was inserted."""
    dialect = connection.dialect.name
    if dialect in ON_CONFLICT:
        insert = ON_CONFLICT[dialect](table).values(dict(row)).on_conflict_do_nothing()
        # Drivers do not agree on the number of rows of an INSERT, so it is asked to show them.
        inserted = connection.execute(insert.returning(*table.primary_key.columns))
        return inserted.first() is not None
    if dialect in ON_DUPLICATE_KEY:
        insert = mysql.insert(table).prefix_with("IGNORE").values(dict(row))
        options = {"preserve_rowcount": True}
        return connection.execute(insert, execution_options=options).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(table.insert().values(dict(row)))
    except IntegrityError:
        return False
    return True
