"""The lease in the SQL database of the results. Needs the extra ``sqlalchemy``."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any

import sqlalchemy as sa

from taskq.beat.leases.base import REMEMBERED, Fenced, Holder, Intent, OutboxLease, Run

__all__ = ("SQLLease",)

METADATA = sa.MetaData()
#: Names of entries may be as long as the text of a call; MySQL allows no more in a key.
NAME, ENTRY = sa.String(155), sa.String(500)
LEASE = sa.Table(
    "taskq_beat_lease",
    METADATA,
    sa.Column("name", NAME, primary_key=True),
    sa.Column("owner", sa.String(155), nullable=False),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("beats", sa.BigInteger, nullable=False),
)
RUNS = sa.Table(
    "taskq_beat_run",
    METADATA,
    sa.Column("name", NAME, primary_key=True),
    sa.Column("entry", ENTRY, primary_key=True),
    sa.Column("run", sa.String(500), nullable=False),
)
OUTBOX = sa.Table(
    "taskq_beat_outbox",
    METADATA,
    sa.Column("key", sa.String(36), primary_key=True),
    sa.Column("name", NAME, nullable=False),
    sa.Column("intent", sa.Text().with_variant(sa.Text(2**24), "mysql", "mariadb"), nullable=False),
    #: Whether the broker may not have it yet. Others may have been sent twice.
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("written", sa.Float(53), nullable=False),
)
#: The copies of messages that may be run.
FIRST = sa.Table(
    "taskq_beat_first",
    METADATA,
    sa.Column("task_id", sa.String(255), primary_key=True),
    sa.Column("copy", sa.String(36), nullable=False),
    sa.Column("written", sa.Float(53), nullable=False),
)

#: Dialect -> limits for how long a transaction may stand still.
IDLE_LIMITS = {
    "postgresql": "SET idle_in_transaction_session_timeout = '{seconds}s'",
    "mysql": "SET SESSION wait_timeout = {seconds}",
    "mariadb": "SET SESSION wait_timeout = {seconds}",
}


class SQLLease(OutboxLease):
    """The lease in a SQL database.

    Parameters:
        engine: of SQLAlchemy.
        lease: seconds after which a leader that does not go on with a transaction is replaced.
        name: what tells it from the leases of other apps there.
    """

    def __init__(self, engine: sa.Engine, *, lease: float, name: str = "") -> None:
        self._engine = engine
        self._name = name
        self._is_mine = LEASE.c.name == name
        if lease:
            sa.event.listen(engine, "connect", _limit_idle_time(engine.dialect.name, lease))
        METADATA.create_all(engine)
        try:
            with engine.begin() as connection:
                connection.execute(LEASE.insert().values(name=name, owner="", fence=0, beats=0))
        except sa.exc.IntegrityError:
            return  # It is there already.

    @classmethod
    def in_backend(cls, app: Any, name: str) -> SQLLease:
        """Return the lease in the result backend."""
        options = dict(app.conf.database_engine_options or {})
        engine = sa.create_engine(app.backend.url, **{"pool_pre_ping": True, **options})
        return cls(engine, lease=app.conf.beat_leader_lease, name=name)

    def look(self) -> Holder:
        columns = (LEASE.c.owner, LEASE.c.fence, LEASE.c.beats)
        with self._engine.connect() as connection:
            row = connection.execute(sa.select(*columns).where(self._is_mine)).one()
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
        if taken:
            self._forget()
        return seen.fence + 1 if taken else None

    def renew(self, fence: int) -> bool:
        return self._update(LEASE.c.fence == fence, beats=LEASE.c.beats + 1)

    def release(self, fence: int) -> None:
        self._update(LEASE.c.fence == fence, owner="")

    def _update(self, *where: Any, **values: Any) -> bool:
        changed = LEASE.update().where(self._is_mine, *where).values(**values)
        with self._engine.begin() as connection:
            return connection.execute(changed).rowcount > 0

    def runs(self) -> dict[str, Run]:
        query = sa.select(RUNS.c.entry, RUNS.c.run).where(RUNS.c.name == self._name)
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return {entry: Run.from_text(run) for entry, run in rows}

    def seed(self, runs: Mapping[str, Run]) -> None:
        known = self.runs()
        missing = [
            {"name": self._name, "entry": entry, "run": run.to_text()}
            for entry, run in runs.items()
            if entry not in known
        ]
        if missing:
            with self._engine.begin() as connection:
                connection.execute(RUNS.insert(), missing)

    def intend(self, fence: int, intent: Intent) -> None:
        key = intent.run.key
        values = {"intent": intent.to_text(), "is_open": True, "written": time.time()}
        with self._engine.begin() as connection:
            self._check_fence(connection, fence)
            # There if the answer to this was lost before.
            connection.execute(OUTBOX.delete().where(OUTBOX.c.key == key))
            connection.execute(OUTBOX.insert().values(key=key, name=self._name, **values))

    def settle(self, fence: int, intent: Intent, *, twice: bool) -> None:
        mine = OUTBOX.c.key == intent.run.key
        last = {"run": intent.run.to_text()}
        where = (RUNS.c.name == self._name, RUNS.c.entry == intent.entry)
        with self._engine.begin() as connection:
            self._check_fence(connection, fence)
            if not connection.execute(RUNS.update().where(*where).values(**last)).rowcount:
                new = RUNS.insert().values(name=self._name, entry=intent.entry, **last)
                connection.execute(new)
            if twice:
                connection.execute(OUTBOX.update().where(mine).values(is_open=False, intent=""))
            else:
                connection.execute(OUTBOX.delete().where(mine))

    def _check_fence(self, connection: sa.Connection, fence: int) -> None:
        # Locked until the end: nobody else becomes the leader meanwhile.
        if self._engine.dialect.name == "sqlite":
            # It has one lock, which it takes for a change.
            held = LEASE.update().where(self._is_mine, LEASE.c.fence == fence).values(fence=fence)
            is_held = connection.execute(held).rowcount > 0
        else:
            look = sa.select(LEASE.c.fence).where(self._is_mine).with_for_update()
            is_held = connection.execute(look).scalar_one() == fence
        if not is_held:
            raise Fenced

    def intents(self) -> Sequence[Intent]:
        query = sa.select(OUTBOX.c.intent).where(OUTBOX.c.name == self._name, OUTBOX.c.is_open)
        with self._engine.connect() as connection:
            texts = connection.execute(query.order_by(OUTBOX.c.written)).scalars().all()
        return Intent.from_texts(texts)

    def is_first(self, key: str, task_id: str, copy: str) -> bool:
        with self._engine.connect() as connection:
            known = sa.select(OUTBOX.c.key).where(OUTBOX.c.key == key)
            if connection.execute(known).one_or_none() is None:
                return True
        come = FIRST.insert().values(task_id=task_id, copy=copy, written=time.time())
        try:
            with self._engine.begin() as connection:
                connection.execute(come)
        except sa.exc.IntegrityError:
            first = sa.select(FIRST.c.copy).where(FIRST.c.task_id == task_id)
            with self._engine.connect() as connection:
                return bool(connection.execute(first).scalar_one() == copy)
        return True

    def _forget(self) -> None:
        """Delete what nobody asks for any more."""
        before = time.time() - REMEMBERED
        with self._engine.begin() as connection:
            connection.execute(
                OUTBOX.delete().where(OUTBOX.c.written < before, sa.not_(OUTBOX.c.is_open))
            )
            connection.execute(FIRST.delete().where(FIRST.c.written < before))

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
