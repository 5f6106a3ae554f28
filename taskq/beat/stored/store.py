"""The schedule in a SQL database: add, change, pause and remove entries at run time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from taskq.beat.entry import ScheduleEntry
from taskq.beat.leases.base import Run
from taskq.beat.stored.definitions import definition_of, entry_from
from taskq.exceptions import ImproperlyConfigured

__all__ = ("ScheduleStore", "StoredEntry", "UnknownEntry", "open_store")

METADATA = sa.MetaData()
ENTRIES = sa.Table(
    "taskq_beat_entry",
    METADATA,
    sa.Column("name", sa.String(500), primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    #: Whether the settings define it: then it goes when they no longer do.
    sa.Column("from_settings", sa.Boolean, nullable=False),
    #: As `Run.to_text`; empty before the first run.
    sa.Column("run", sa.String(500), nullable=False),
)
#: Grows with every change of an entry, so that a beat sees with one small query that there is none.
REVISION = sa.Table(
    "taskq_beat_revision",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
)

E_NO_DATABASE = (
    "Schedules in a database need one: set beat_schedule_database to its SQLAlchemy URL, such as "
    "'sqlite:///beat.db' or 'postgresql+psycopg://host/db', or use a SQL database for the results."
)


class UnknownEntry(KeyError):
    """There is no entry of that name."""

    def __str__(self) -> str:
        return f"There is no periodic task {self.args[0]!r} in the database."


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry in the database.

    Parameters:
        name: unique among the entries.
        definition: as in ``beat_schedule``, in JSON.
        paused: not sent for now.
        run: last run, None before the first one.
        from_settings: whether ``beat_schedule`` defines it.
    """

    name: str
    definition: str
    paused: bool
    run: Run | None
    from_settings: bool

    def entry(self, app: Any, cls: Any = ScheduleEntry) -> Any:
        """Return it as beat has it."""
        last = (
            {}
            if self.run is None
            else {
                "last_run_at": self.run.last_run_at,
                "total_run_count": self.run.total_run_count,
            }
        )
        return cls(name=self.name, app=app, **entry_from(self.definition, app), **last)


class ScheduleStore:
    """The entries in a database. Thread-safe; errors of the database are SQLAlchemy's.

    Parameters:
        engine: of SQLAlchemy. Tables that are missing are made.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        METADATA.create_all(engine)
        try:
            with engine.begin() as connection:
                connection.execute(REVISION.insert().values(id=1, revision=0))
        except sa.exc.IntegrityError:
            return  # It is there already.

    def revision(self) -> int:
        """Return a number that has grown if any entry was changed."""
        with self._engine.connect() as connection:
            number: int = connection.execute(sa.select(REVISION.c.revision)).scalar_one()
            return number

    def entries(self) -> list[StoredEntry]:
        """Return all entries by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(ENTRIES).order_by(ENTRIES.c.name)).all()
        return [_stored(row) for row in rows]

    def get(self, name: str) -> StoredEntry:
        """Return an entry. Raises UnknownEntry."""
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(ENTRIES).where(ENTRIES.c.name == name)).one_or_none()
        if row is None:
            raise UnknownEntry(name)
        return _stored(row)

    def add(self, name: str, *, from_settings: bool = False, **entry: Any) -> None:
        """Add an entry, or change the one of that name, which keeps its last run.

        - entry: keys as in ``beat_schedule``.

        Raises TypeError and ValueError for an entry that cannot be.
        """
        text = definition_of(entry)
        ScheduleEntry(name=name, **entry)  # What beat would refuse is refused here.
        values = {"definition": text, "from_settings": from_settings}
        with self._engine.begin() as connection:
            same = connection.execute(
                sa.select(ENTRIES.c.name).where(
                    ENTRIES.c.name == name,
                    ENTRIES.c.definition == text,
                    ENTRIES.c.from_settings == from_settings,
                )
            ).one_or_none()
            if same is not None:
                return
            changed = connection.execute(
                ENTRIES.update().where(ENTRIES.c.name == name).values(**values)
            )
            if not changed.rowcount:
                connection.execute(
                    ENTRIES.insert().values(name=name, paused=False, run="", **values)
                )
            _touch(connection)

    def pause(self, name: str) -> None:
        """Don't send an entry for now. Raises UnknownEntry."""
        self._change(ENTRIES.update().values(paused=True), name)

    def resume(self, name: str, *, now: datetime) -> None:
        """Send an entry again, from its next time after `now` on. Raises UnknownEntry."""
        found = self.get(name)
        if not found.paused:
            return
        count = found.run.total_run_count if found.run else 0
        run = Run(now, count).to_text()
        self._change(ENTRIES.update().values(paused=False, run=run), name)

    def remove(self, name: str) -> None:
        """Delete an entry. Raises UnknownEntry."""
        self._change(ENTRIES.delete(), name)

    def record(self, runs: Mapping[str, Run]) -> None:
        """Write down when entries were sent last."""
        with self._engine.begin() as connection:
            for name, run in runs.items():
                connection.execute(
                    ENTRIES.update().where(ENTRIES.c.name == name).values(run=run.to_text())
                )

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def _change(self, statement: Any, name: str) -> None:
        with self._engine.begin() as connection:
            if not connection.execute(statement.where(ENTRIES.c.name == name)).rowcount:
                raise UnknownEntry(name)
            _touch(connection)


def open_store(app: Any) -> ScheduleStore:
    """Return the store in ``beat_schedule_database``, else in the SQL database of the results.

    Raises ImproperlyConfigured if there is neither.
    """
    url = app.conf.beat_schedule_database
    if not url:
        url = getattr(app.backend, "url", None) or ""
        if not type(app.backend).__module__.startswith("taskq.backends.database"):
            raise ImproperlyConfigured(E_NO_DATABASE)
    return ScheduleStore(sa.create_engine(url.removeprefix("db+"), pool_pre_ping=True))


def _touch(connection: sa.Connection) -> None:
    connection.execute(REVISION.update().values(revision=REVISION.c.revision + 1))


def _stored(row: Any) -> StoredEntry:
    run = Run.from_text(row.run) if row.run else None
    return StoredEntry(row.name, row.definition, row.paused, run, row.from_settings)
