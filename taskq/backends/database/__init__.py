"""Results in a database through SQLAlchemy (``db+postgresql://…``), in Celery's tables."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from kombu.utils.encoding import ensure_bytes
from kombu.utils.url import maybe_sanitize_url

from taskq import states
from taskq.backends.backend import BaseBackend
from taskq.backends.handles import to_stored_tuple
from taskq.backends.waiting import Meta
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import symbol_by_name

try:
    import sqlalchemy as sa
    from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
except ImportError:
    raise ImproperlyConfigured(
        "The database result backend requires SQLAlchemy: pip install taskq[sqlalchemy]"
    ) from None

from taskq.backends.database.chords import ChordCounter
from taskq.backends.database.models import Task, TaskExtended, TaskSet, models_for, utc_now
from taskq.backends.database.session import SessionManager
from taskq.backends.database.statements import store_task, upsert

__all__ = ("DatabaseBackend", "Task", "TaskExtended", "TaskSet", "session_cleanup")

#: Errors after which a call may be made again: the database was away, busy or gave it up.
RETRYABLE_DB_ERRORS = (OperationalError, InterfaceError, InternalError)
#: How often, where `result_backend_max_retries` does not say.
DEFAULT_MAX_RETRIES = 3
#: The same for what a worker writes, which nobody else will write: some 20 seconds in all.
DEFAULT_MAX_WRITE_RETRIES = 12
#: How many tasks to ask for in one query: databases limit the number of parameters.
READ_CHUNK = 500

EXTENDED_COLUMNS = ("name", "args", "kwargs", "worker", "retries", "queue")


@contextmanager
def session_cleanup(session: Any) -> Iterator[None]:
    """Roll a session back if the body of the ``with`` statement raises, and close it."""
    try:
        yield
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


class DatabaseBackend(BaseBackend):
    """Stores results in the tables ``celery_taskmeta`` and ``celery_tasksetmeta``.

    Chords are polled, as Celery does: a Celery worker that runs part of one must not make it hang.
    Where all workers are taskq's, set ``native_chords`` to True in
    `result_backend_transport_options`, and they are counted in tables of our own instead.

    Parameters:
        dburi: URL of the database (`database_url` when None).
        engine_options: over `database_engine_options`.
        url: what came after ``db+`` in `result_backend`.
    """

    subpolling_interval = 0.5
    supports_native_join = True
    #: Compressed and pickled results are bytes like others.
    task_cls: Any = Task
    taskset_cls: Any = TaskSet

    def __init__(
        self,
        dburi: str | None = None,
        engine_options: dict[str, Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(url=url, **kwargs)
        conf = self.app.conf
        self.url = url or dburi or conf.database_url
        if not self.url:
            raise ImproperlyConfigured(
                "Missing connection string! Do you have the database_url setting set to a real "
                "value?"
            )
        if not conf.result_backend_always_retry:
            # A database that closes idle connections is no error of the task.
            self.always_retry = True
            self.max_write_retries = min(self.max_retries, DEFAULT_MAX_WRITE_RETRIES)
            self.max_retries = min(self.max_retries, DEFAULT_MAX_RETRIES)
        self.engine_options = {**(conf.database_engine_options or {}), **(engine_options or {})}
        self.short_lived_sessions = conf.database_short_lived_sessions
        self._models = models_for(conf.database_table_names, conf.database_table_schemas)
        self.task_cls = self._models.task_extended if self.extended_result else self._models.task
        self.taskset_cls = self._models.task_set
        self._chords = ChordCounter(self._models)
        callback = conf.database_engine_callback
        if isinstance(callback, str):
            callback = symbol_by_name(callback)
        self.session_manager = SessionManager(callback, self._models)
        self._prepared = False
        if conf.database_create_tables_at_setup:
            self._create_tables()

    @property
    def extended_result(self) -> bool:
        """`result_extended` is set."""
        return bool(self.app.conf.result_extended)

    def prepare_expires(self, value: Any, type: Callable[[float], Any] | None = None) -> Any:
        """Return `value` (`result_expires` when None) as a timedelta."""
        value = self.app.conf.result_expires if value is None else value
        return timedelta(seconds=value) if isinstance(value, (int, float)) else value

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        own = {"dburi": self.url, "expires": self.expires, "engine_options": self.engine_options}
        return super().__reduce__(args, {**(kwargs or {}), **own})

    # -- connections ----------------------------------------------------------------

    def _create_tables(self) -> None:
        self._ensure_retryable(self._prepare)

    def _prepare(self) -> None:
        if not self._prepared:
            self.session_manager.prepare_models(self._engine())
            self._prepared = True

    def ResultSession(self, session_manager: SessionManager | None = None) -> Any:  # noqa: N802
        """Return an ORM session on the database, for queries of one's own."""
        manager = session_manager or self.session_manager
        return manager.session_factory(
            self.url or "",
            short_lived_sessions=self.short_lived_sessions,
            **self.engine_options,
        )

    def _engine(self) -> sa.Engine:
        engine, _ = self.session_manager.create_session(
            self.url or "",
            short_lived_sessions=self.short_lived_sessions,
            **self.engine_options,
        )
        return engine

    def _prepared_engine(self) -> sa.Engine:
        self._prepare()
        return self._engine()

    @contextmanager
    def _statement(self) -> Iterator[sa.Connection]:
        """Give a connection for single statements: each is a transaction of its own."""
        engine = self._prepared_engine().execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True where the database was away, busy or gave the statement up."""
        return isinstance(exc, RETRYABLE_DB_ERRORS)

    def on_backend_retryable_error(self, exc: BaseException) -> None:
        """Drop connections that may be broken."""
        if isinstance(exc, DBAPIError) and exc.connection_invalidated:
            self.session_manager.invalidate(self.url or "")

    def _after_fork(self) -> None:
        super()._after_fork()
        self.session_manager._after_fork()

    # -- tasks ------------------------------------------------------------------------

    @property
    def _table(self) -> sa.Table:
        table: sa.Table = self.task_cls.__table__
        return table

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        row = self._row(task_id, result, state, traceback, request)
        with self._statement() as connection:
            store_task(connection, self._table, row)
        return result

    def _row(
        self, task_id: str, result: Any, state: str, traceback: Any, request: Any
    ) -> dict[str, Any]:
        """Return the row of a task."""
        meta = self._get_result_meta(
            result, state, traceback, request, format_date=False, encode=True
        )
        children = meta["children"]
        row = {
            "task_id": task_id,
            "status": state,
            "result": ensure_bytes(self.encode(result)),
            "traceback": traceback,
            "children": None if children is None else ensure_bytes(self.encode(children)),
            "date_done": utc_now() if meta["date_done"] is not None else None,
        }
        if self.extended_result:
            row.update({name: meta.get(name) for name in EXTENDED_COLUMNS})
            row["stamps"] = self._encode_stamps(request)
        return row

    def _encode_stamps(self, request: Any) -> bytes | None:
        stamped_headers = getattr(request, "stamped_headers", None)
        stamps = getattr(request, "stamps", None)
        if not stamped_headers or stamps is None:
            return None
        encoded = self.encode({"stamped_headers": stamped_headers, "stamps": stamps})
        return ensure_bytes(encoded)  # type: ignore[no-any-return]

    def _get_task_meta_for(self, task_id: str) -> Meta:
        for meta in self._select([task_id]):
            return meta
        unknown = dict.fromkeys(("result", "traceback", "date_done", "children"))
        return {"task_id": task_id, "status": states.PENDING, **unknown}

    def read_metas(self, task_ids: Sequence[str]) -> Iterator[Meta]:
        """Yield the metas of those of the tasks that are stored, read in few queries."""
        for start in range(0, len(task_ids), READ_CHUNK):
            chunk = list(task_ids[start : start + READ_CHUNK])
            yield from self._ensure_retryable(lambda ids=chunk: list(self._select(ids)))

    def _select(self, task_ids: Sequence[str]) -> Iterator[Meta]:
        table = self._table
        query = sa.select(table).where(table.c.task_id.in_(task_ids))
        with self._statement() as connection:
            rows = connection.execute(query).all()
        return map(self._meta_of, rows)

    def _meta_of(self, row: Any) -> Meta:
        """Return the meta in a row."""
        meta: Meta = {
            "task_id": row.task_id,
            "status": row.status,
            "result": self._decode_stored_result(row.result),
            "traceback": row.traceback,
            "date_done": row.date_done,
            "children": self._decode_stored_result(row.children),
        }
        if self.extended_result:
            for name in EXTENDED_COLUMNS:
                value = getattr(row, name)
                meta[name] = self.decode(value) if name in ("args", "kwargs") else value
            stamps = self.decode(row.stamps)
            if stamps:
                meta["stamped_headers"] = stamps["stamped_headers"]
                meta.update(stamps["stamps"])
        return self.meta_from_decoded(meta)  # type: ignore[no-any-return]

    def _decode_stored_result(self, payload: bytes | None) -> Any:
        """Return a stored value; Celery before 5.7 pickled it, whatever the serializer."""
        if payload is None:
            return None
        if self.serializer != "pickle" and payload[:1] == b"\x80":
            return PlainUnpickler(io.BytesIO(payload)).load()
        return self.decode(payload)

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task, whatever its state."""
        return bool(self._ensure_retryable(self._task_result_exists, task_id))

    def _task_result_exists(self, task_id: str) -> bool:
        column = self._table.c.task_id
        with self._statement() as connection:
            return (
                connection.execute(sa.select(column).where(column == task_id)).first() is not None
            )

    def _forget(self, task_id: str) -> None:
        with self._statement() as connection:
            connection.execute(self._table.delete().where(self._table.c.task_id == task_id))

    # -- groups -------------------------------------------------------------------------

    @property
    def _group_table(self) -> sa.Table:
        table: sa.Table = self.taskset_cls.__table__
        return table

    def _save_group(self, group_id: str, result: Any) -> Any:
        row = {
            "taskset_id": group_id,
            "result": ensure_bytes(self.encode(to_stored_tuple(result))),
            "date_done": utc_now(),
        }
        with self._statement() as connection:
            upsert(connection, self._group_table, "taskset_id", row)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        table = self._group_table
        with self._statement() as connection:
            row = connection.execute(sa.select(table).where(table.c.taskset_id == group_id)).first()
        if row is None:
            return None
        handle = self._group_from_tuple(self._decode_stored_result(row.result))
        return {"taskset_id": group_id, "result": handle, "date_done": row.date_done}

    def _delete_group(self, group_id: str) -> None:
        table = self._group_table
        with self._statement() as connection:
            connection.execute(table.delete().where(table.c.taskset_id == group_id))

    # -- chords -------------------------------------------------------------------------

    @property
    def _counts_chords(self) -> bool:
        options = self.app.conf.result_backend_transport_options or {}
        return bool(options.get("native_chords", False))

    def apply_chord(self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any) -> None:
        """Start polling the header; where header tasks are counted, note which groups are in it."""
        if not self._counts_chords:
            super().apply_chord(header_result_args, body, **kwargs)
        elif any(hasattr(result, "results") for result in header_result_args[1]):
            self.app.GroupResult(*header_result_args).save(backend=self)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Record how many tasks the header of a chord has."""
        if self._counts_chords:
            engine = self._prepared_engine()
            self._ensure_retryable(self._chords.set_size, engine, group_id, chord_size)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a header task that is done; the one that completes the count sends the body."""
        group_id = request.group
        if not group_id or not self._counts_chords:
            return
        engine = self._prepared_engine()
        part = {
            "group_id": group_id,
            "task_id": request.id,
            "position": getattr(request, "group_index", None),
            "status": state,
            "result": ensure_bytes(self.encode(self.encode_result(result, state))),
            "date_done": utc_now(),
        }
        retries = self.max_write_retries
        if self._ensure_retryable(self._chords.count, engine, part, max_retries=retries):
            body = self.app.signature(request.chord)
            self._finish_chord(group_id, body, lambda: self._collect(engine, group_id))
            self._ensure_retryable(self._chords.delete, engine, group_id)
            self.delete_group(group_id)

    def _collect(self, engine: sa.Engine, group_id: str) -> Any:
        """Return the results of a header; those of groups in it are lists in the list."""
        saved = self.restore_group(group_id, cache=False)
        if saved is not None:
            return self.join_header(saved)
        return self._chords.results(engine, group_id, self._decode_part)

    def _decode_part(self, state: str, payload: bytes) -> Any:
        value = self.decode(payload)
        return self.exception_to_python(value) if state in self.EXCEPTION_STATES else value

    # -- life ---------------------------------------------------------------------------

    def cleanup(self) -> None:
        """Remove tasks, groups and chords that are older than `result_expires`."""
        if not self.expires:
            return
        oldest = utc_now() - self.expires
        with self._statement() as connection:
            for table in (self._table, self._group_table):
                connection.execute(table.delete().where(table.c.date_done < oldest))
        self._chords.delete_older(self._engine(), oldest)

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL of the database, with the password masked unless asked for."""
        url = self.url or ""
        return url if include_password else maybe_sanitize_url(url)


class PlainUnpickler(pickle.Unpickler):
    """Reads pickles of plain data only: lists, dicts, text, numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse: plain data needs no classes."""
        raise pickle.UnpicklingError(
            f"A stored result holds an instance of {module}.{name}; only plain data is read"
        )
