"""Engines and sessions of the database backend: made on first use, one engine for each URL.

A forked child makes engines of its own and leaves the parent's connections alone.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool, StaticPool

from taskq.backends.database.models import ResultModelBase

__all__ = ("SessionManager",)

#: How often to try to create the tables: two processes may do so at the same time.
PREPARE_MODELS_MAX_RETRIES = 10

#: Engine options that a pool without connections to keep does not take.
POOL_OPTIONS = ("pool_size", "max_overflow", "pool_timeout", "pool_use_lifo", "pool_recycle")

_managers: weakref.WeakSet[SessionManager] = weakref.WeakSet()


def _tell_managers_of_fork() -> None:
    for manager in list(_managers):
        manager._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell_managers_of_fork)


class SessionManager:
    """Makes engines and sessions, and the tables.

    Parameters:
        engine_callback: called with each new engine (`database_engine_callback`).
        models: the models whose tables to create.
    """

    def __init__(
        self, engine_callback: Callable[[Any], Any] | None = None, models: Any = None
    ) -> None:
        self.engine_callback = engine_callback
        self._metadata = (models.base if models is not None else ResultModelBase).metadata
        self._engines: dict[str, sa.Engine] = {}
        self._prepared: set[str] = set()
        self._lock = threading.RLock()
        self.forked = False
        _managers.add(self)

    def _after_fork(self) -> None:
        self.forked = True
        self._lock = threading.RLock()
        engines, self._engines = self._engines, {}
        for engine in engines.values():
            engine.dispose(close=False)

    def get_engine(self, dburi: str, **kwargs: Any) -> sa.Engine:
        """Return the engine for a URL.

        Parameters:
            dburi: URL of the database.
            kwargs: options for ``sqlalchemy.create_engine``.
        """
        with self._lock:
            engine = self._engines.get(dburi)
            if engine is None:
                engine = sa.create_engine(dburi, **engine_options(dburi, kwargs))
                if self.engine_callback is not None:
                    self.engine_callback(engine)
                self._engines[dburi] = engine
            return engine

    def create_session(
        self, dburi: str, short_lived_sessions: bool = False, **kwargs: Any
    ) -> tuple[sa.Engine, Callable[[], Session]]:
        """Return the engine for a URL and a function that makes sessions on it.

        Parameters:
            dburi: URL of the database.
            short_lived_sessions: keep no connections between sessions.
            kwargs: options for ``sqlalchemy.create_engine``.
        """
        if short_lived_sessions:
            kwargs = {"poolclass": NullPool, **kwargs}
        engine = self.get_engine(dburi, **kwargs)
        return engine, sessionmaker(bind=engine)

    def session_factory(self, dburi: str, **kwargs: Any) -> Session:
        """Return a session on the database of a URL, with the tables in place."""
        engine, make_session = self.create_session(dburi, **kwargs)
        self.prepare_models(engine)
        return make_session()

    def prepare_models(self, engine: sa.Engine) -> None:
        """Create the tables that are missing, and the columns that older versions did not have."""
        key = str(engine.url)
        if key in self._prepared:
            return
        for attempt in range(1, PREPARE_MODELS_MAX_RETRIES + 1):
            try:
                self._metadata.create_all(engine)
                self._migrate_missing_columns(engine)
                break
            except DatabaseError:
                # Another process was creating them at the same time: see what it has left to do.
                if attempt == PREPARE_MODELS_MAX_RETRIES:
                    raise
        self._prepared.add(key)

    def _migrate_missing_columns(self, engine: sa.Engine) -> None:
        inspector = sa.inspect(engine)
        preparer = engine.dialect.identifier_preparer
        for table in self._metadata.tables.values():
            present = {each["name"] for each in inspector.get_columns(table.name, table.schema)}
            for column in table.columns:
                if column.name not in present:
                    kind = column.type.compile(engine.dialect)
                    where = preparer.format_table(table)
                    name = preparer.format_column(column)
                    with engine.begin() as connection:
                        connection.execute(sa.text(f"ALTER TABLE {where} ADD COLUMN {name} {kind}"))

    def invalidate(self, dburi: str) -> None:
        """Drop the connections of an engine; the next use makes new ones."""
        with self._lock:
            engine = self._engines.pop(dburi, None)
        if engine is not None:
            engine.dispose()


def engine_options(dburi: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that fit the kind of pool that the URL wants."""
    options = dict(options)
    url = sa.make_url(dburi)
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        # All threads share the one connection that has the data.
        options.setdefault("poolclass", StaticPool)
        options["connect_args"] = {"check_same_thread": False, **options.get("connect_args", {})}
    if options.get("poolclass") in (NullPool, StaticPool):
        options = {key: value for key, value in options.items() if key not in POOL_OPTIONS}
    return options
