"""The tables of the database backend: Celery's two, and ours for counting chords.

`make_models` makes them under configured names; the module has them under their default names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase

from taskq import states

__all__ = ("Models", "Task", "TaskExtended", "TaskSet", "make_models", "utc_now")

#: Bytes of any length; MySQL's BLOB ends at 64 kB.
Bytes = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
#: Text of any length; MySQL's TEXT ends at 64 kB.
LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
#: MySQL's DATETIME has seconds only, unless told.
Moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
#: Lengths of names and ids, and of states.
Name = sa.String(155)
State = sa.String(50)


def utc_now() -> datetime:
    """Return the present time in UTC without a time zone, as the tables keep it."""
    return datetime.now(UTC).replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class Models:
    """The mapped classes of one pair of table names."""

    base: Any
    task: Any
    task_extended: Any
    task_set: Any
    #: Tables of chords that are being counted.
    chord: sa.Table
    chord_part: sa.Table


def models_for(names: Mapping[str, str] | None, schemas: Mapping[str, str] | None) -> Models:
    """Return the models for `database_table_names` and `database_table_schemas`."""
    names, schemas = names or {}, schemas or {}
    return make_models(
        names.get("task", "celery_taskmeta"),
        names.get("group", "celery_tasksetmeta"),
        schemas.get("task"),
        schemas.get("group"),
    )


@cache
def make_models(
    task_name: str, group_name: str, task_schema: str | None, group_schema: str | None
) -> Models:
    """Return mapped classes for tables of these names, in these schemas."""

    class Base(DeclarativeBase):
        """Base class of the models of these tables."""

    class Configurable:
        """What Celery's models can do besides being mapped."""

        @classmethod
        def configure(cls, schema: str | None = None, name: str | None = None) -> None:
            """Give the table another schema and name, before it is used."""
            table: sa.Table = cls.__table__  # type: ignore[attr-defined]
            table.schema = schema
            table.fullname = f"{schema}.{name or table.name}" if schema else name or table.name
            table.name = name or table.name

    class Task(Base, Configurable):
        """The state and result of a task."""

        __table__ = sa.Table(
            task_name,
            Base.metadata,
            sa.Column(
                "id",
                sa.Integer,
                sa.Sequence("task_id_sequence", schema=task_schema),
                primary_key=True,
                autoincrement=True,
            ),
            sa.Column("task_id", Name, unique=True),
            sa.Column("status", State, default=states.PENDING),
            sa.Column("result", Bytes, nullable=True),
            sa.Column("date_done", Moment, nullable=True, index=True),
            sa.Column("traceback", LongText, nullable=True),
            sa.Column("children", Bytes, nullable=True),
            sa.Column("name", Name, nullable=True),
            sa.Column("args", Bytes, nullable=True),
            sa.Column("kwargs", Bytes, nullable=True),
            sa.Column("worker", Name, nullable=True),
            sa.Column("retries", sa.Integer, nullable=True),
            sa.Column("queue", Name, nullable=True),
            sa.Column("stamps", Bytes, nullable=True),
            schema=task_schema,
            sqlite_autoincrement=True,
        )

        def __init__(self, task_id: str) -> None:
            self.task_id = task_id

        def to_dict(self) -> dict[str, Any]:
            """Return the columns that every result has."""
            names = ("task_id", "status", "result", "traceback", "date_done", "children")
            return {name: getattr(self, name) for name in names}

        def __repr__(self) -> str:
            return f"<Task {self.task_id} state: {self.status}>"  # type: ignore[attr-defined]

    class TaskExtended(Task):
        """The state and result of a task, with what `result_extended` adds."""

        def to_dict(self) -> dict[str, Any]:
            """Return all columns but the id of the row."""
            names = ("name", "args", "kwargs", "worker", "retries", "queue")
            return {**super().to_dict(), **{name: getattr(self, name) for name in names}}

    class TaskSet(Base, Configurable):
        """Which tasks a group has."""

        __table__ = sa.Table(
            group_name,
            Base.metadata,
            sa.Column(
                "id",
                sa.Integer,
                sa.Sequence("taskset_id_sequence", schema=group_schema),
                primary_key=True,
                autoincrement=True,
            ),
            sa.Column("taskset_id", Name, unique=True),
            sa.Column("result", Bytes, nullable=True),
            sa.Column("date_done", Moment, default=utc_now, nullable=True, index=True),
            schema=group_schema,
            sqlite_autoincrement=True,
        )

        def __init__(self, taskset_id: str, result: Any) -> None:
            self.taskset_id = taskset_id
            self.result = result

        def to_dict(self) -> dict[str, Any]:
            """Return all columns but the id of the row."""
            names = ("taskset_id", "result", "date_done")
            return {name: getattr(self, name) for name in names}

        def __repr__(self) -> str:
            return f"<TaskSet: {self.taskset_id}>"

    chord = sa.Table(
        "taskq_chord",
        Base.metadata,
        sa.Column("group_id", Name, primary_key=True),
        sa.Column("size", sa.Integer, nullable=True),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("claimant", Name, nullable=True),
        sa.Column("date_done", Moment, index=True),
        schema=group_schema,
    )
    chord_part = sa.Table(
        "taskq_chord_part",
        Base.metadata,
        sa.Column("group_id", Name, primary_key=True),
        sa.Column("task_id", Name, primary_key=True),
        sa.Column("position", sa.Integer, nullable=True),
        sa.Column("status", State),
        sa.Column("result", Bytes, nullable=True),
        sa.Column("date_done", Moment, index=True),
        schema=group_schema,
    )
    return Models(Base, Task, TaskExtended, TaskSet, chord, chord_part)


_default = models_for(None, None)
ResultModelBase = _default.base
Task = _default.task
TaskExtended = _default.task_extended
TaskSet = _default.task_set
