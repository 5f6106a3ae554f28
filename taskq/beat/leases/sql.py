"""The lease in the SQL database of the results. Needs the extra ``sqlalchemy``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import sqlalchemy as sa

from taskq.beat.leases.base import Fenced, Holder, Lease, Prepared, Run

__all__ = ("SQLLease",)

METADATA = sa.MetaData()
LEASE = sa.Table(
    "taskq_beat_lease",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.String(155), nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
)
RUNS = sa.Table(
    "taskq_beat_run",
    METADATA,
    sa.Column("entry", sa.String(155), primary_key=True),
    sa.Column("run", sa.String(155), nullable=False),
)

#: Dialect -> limits for how long a transaction may stand still.
IDLE_LIMITS = {
    "postgresql": "SET idle_in_transaction_session_timeout = '{seconds}s'",
    "mysql": "SET SESSION wait_timeout = {seconds}",
    "mariadb": "SET SESSION wait_timeout = {seconds}",
}


class SQLLease(Lease):
    """The lease in a SQL database.

    The broker is another place, so a message is published first and written down next: a beat
    that dies between the two has its successor send it again, with the same task id.

    Parameters:
        engine: of SQLAlchemy.
        lease: seconds after which a leader that does not go on with a transaction is replaced.
    """

    def __init__(self, engine: sa.Engine, *, lease: float) -> None:
        self._engine = engine
        sa.event.listen(engine, "connect", _limit_idle_time(engine.dialect.name, lease))
        METADATA.create_all(engine)
        try:
            with engine.begin() as connection:
                connection.execute(LEASE.insert().values(id=1, owner="", fence=0, beats=0))
        except sa.exc.IntegrityError:
            return  # It is there already.

    @classmethod
    def in_backend(cls, app: Any) -> SQLLease:
        """Return the lease in the result backend."""
        options = dict(app.conf.database_engine_options or {})
        engine = sa.create_engine(app.backend.url, **{"pool_pre_ping": True, **options})
        return cls(engine, lease=app.conf.beat_leader_lease)

    def look(self) -> Holder:
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(LEASE.c.owner, LEASE.c.fence, LEASE.c.beats)).one()
        return Holder(*row)

    def take(self, owner: str, seen: Holder) -> int | None:
        taken = self._update(
            LEASE.c.owner == seen.owner,
            LEASE.c.fence == seen.fence,
            LEASE.c.beats == seen.count,
            owner=owner,
            fence=LEASE.c.fence + 1,
            beats=0,
        )
        return seen.fence + 1 if taken else None

    def renew(self, fence: int) -> bool:
        return self._update(LEASE.c.fence == fence, beats=LEASE.c.beats + 1)

    def release(self, fence: int) -> None:
        self._update(LEASE.c.fence == fence, owner="")

    def _update(self, *where: Any, **values: Any) -> bool:
        with self._engine.begin() as connection:
            return connection.execute(LEASE.update().where(*where).values(**values)).rowcount > 0

    def runs(self) -> dict[str, Run]:
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(RUNS.c.entry, RUNS.c.run)).all()
        return {name: Run.from_text(run) for name, run in rows}

    def seed(self, runs: Mapping[str, Run]) -> None:
        known = self.runs()
        missing = [
            {"entry": name, "run": run.to_text()} for name, run in runs.items() if name not in known
        ]
        if missing:
            with self._engine.begin() as connection:
                connection.execute(RUNS.insert(), missing)

    def commit(
        self, fence: int, entry: str, run: Run, messages: Sequence[Prepared], channel: Any
    ) -> None:
        with self._engine.begin() as connection:
            # Locked until the end: nobody else becomes the leader meanwhile.
            held = sa.select(LEASE.c.fence).with_for_update()
            if connection.execute(held).scalar_one() != fence:
                raise Fenced
            for message, exchange, routing_key in messages:
                channel.basic_publish(message, exchange=exchange, routing_key=routing_key)
            changed = connection.execute(
                RUNS.update().where(RUNS.c.entry == entry).values(run=run.to_text())
            )
            if not changed.rowcount:
                connection.execute(RUNS.insert().values(entry=entry, run=run.to_text()))

    def close(self) -> None:
        self._engine.dispose()


def _limit_idle_time(dialect: str, seconds: float) -> Callable[[Any, Any], None]:
    """Return what has the database end a transaction that nobody goes on with.

    While it lasts the row of the lease is locked, and the machine that began it may be gone.
    """
    statement = IDLE_LIMITS.get(dialect, "").format(seconds=ceil(seconds))

    def set_limit(connection: Any, _record: Any) -> None:
        if statement:
            cursor = connection.cursor()
            cursor.execute(statement)
            cursor.close()
            connection.commit()

    return set_limit
