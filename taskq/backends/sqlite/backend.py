"""The result backend for ``sqlite://`` URLs.

Results are kept by key in one table, like those of any key-value backend, with the state in a
column of its own: that makes the rule that a SUCCESS stays one conditional statement instead of
a read and a write. A table with a column per field was considered and left: nothing reads single
fields, and one encoded value is quicker to write and is what every other backend stores.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kombu.utils.encoding import bytes_to_str

from taskq import states
from taskq.backends.base import KeyValueStoreBackend
from taskq.backends.keyvalue import chord_size
from taskq.backends.sqlite.chords import ChordCounter
from taskq.backends.sqlite.source import SQLiteSource
from taskq.backends.sqlite.store import ResultStore
from taskq.backends.waiting import ResultSource
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseUnavailable
from taskq.transport.sqlite.options import parse_url

__all__ = ("SQLiteBackend",)

logger = logging.getLogger(__name__)


class SQLiteBackend(KeyValueStoreBackend):
    """Results in an SQLite database file, which may be the broker's.

    Any number of processes and threads may use it. Waiting is by notification. Options of the
    URL, or of `result_backend_transport_options`, are those of the ``sqlite://`` transport.
    """

    key_t = bytes_to_str
    implements_incr = True
    persistent = True
    supports_native_join = True
    supports_failure_expires = True
    supports_result_compression = True

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        """Set up for the file that `url` names; it is opened on first use.

        Parameters:
            app: the app the results belong to.
            url: ``sqlite:///file?option=value``.
            kwargs: as for every backend.

        Raises:
            taskq.exceptions.ImproperlyConfigured: the URL names no file, or a bad option.
        """
        super().__init__(app, url=url, **kwargs)
        options = app.conf.result_backend_transport_options or {}
        self._options = parse_url(url or "sqlite:///", options)
        database = Database(self._options, forgiving=True)
        self._store = ResultStore(database)
        self._chords = ChordCounter(database)

    def __reduce__(self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(
            args, {"url": self.url, "expires": self.expires, **(kwargs or {})}
        )

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL; it holds no password."""
        return self.url or "sqlite:///"

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Tell whether the database may be there again later."""
        return isinstance(exc, DatabaseUnavailable)

    def create_result_source(self) -> ResultSource:
        """Return what waits for results in this file."""
        return SQLiteSource(self._options, self.get_key_for_task, self.decode_result)

    def create_follower(self, awaited: Any) -> Any:
        """Return what listens to this file on an event loop."""
        # Imported when the first coroutine waits: it brings asyncio along.
        from taskq.backends.sqlite.follower import SQLiteFollower

        # The loop is not to wait for a lock.
        options = replace(self._options, busy_timeout=0)
        source = SQLiteSource(options, self.get_key_for_task, self.decode_result)
        return SQLiteFollower(awaited, source, self.retry_policy)

    def cleanup(self) -> None:
        """Delete expired results, groups and chords."""
        self._store.delete_expired()
        self._chords.delete_expired()

    # -- keys and values ------------------------------------------------------

    def get(self, key: str) -> Any:
        """Return the value under a key, or None."""
        return self._store.get(key)

    def mget(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values of those of the keys that there are, by key."""
        return self._store.get_many(keys)

    def set(self, key: str, value: Any) -> None:
        """Store a value under a key for `result_expires` seconds."""
        self._store.set(key, value, self.expires or None)

    def delete(self, key: str) -> None:
        """Delete a key."""
        self._store.delete(key)

    def incr(self, key: str) -> int:
        """Add one to the number under a key and return it."""
        return self._store.increment(key)

    def expire(self, key: str, value: float) -> None:
        """Have a key deleted in `value` seconds."""
        self._store.expire(key, value)

    # -- states ---------------------------------------------------------------

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        encoded = self._encoded_meta(task_id, result, state, traceback, request)
        key = self.get_key_for_task(task_id)
        self._store.store_state(key, state, encoded, self._expires_in(state))
        return result

    def _expires_in(self, state: str) -> float | None:
        """Return the seconds that a result in `state` is kept."""
        if state in states.EXCEPTION_STATES:
            configured = self.app.conf.result_failure_expires
            if configured is not None:
                return self.prepare_expires(configured) or None
        return self.expires or None

    # -- chords ---------------------------------------------------------------

    def _apply_chord_incr(
        self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any
    ) -> None:
        """Save the header and begin to count it."""
        super()._apply_chord_incr(header_result_args, body, **kwargs)
        group_id, results = header_result_args[0], header_result_args[1]
        size = chord_size(body) or len(results)
        self._chords.create(group_id, size, self._chord_result_expires)

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        """Take note of how many tasks the header of a chord has, nested ones included."""
        self._chords.set_size(group_id, chord_size)

    def add_to_chord(self, chord_id: str, result: Any) -> None:
        """Add a task to the header of a chord that is running.

        Raises:
            ValueError: the header is complete already, or there is no such chord.
        """
        header = self.app.GroupResult.restore(chord_id, backend=self)
        if header is None or not self._chords.grow(chord_id):
            raise ValueError(f"Cannot add to the chord {chord_id!r}: it is unknown or complete")
        header.add(result)
        header.save(backend=self)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a header task that is done; the one that completes the count sends the body."""
        if not request.group:
            return
        count = self._chords.count(request.group, request.id)
        if not count.known:
            logger.info(
                "Chord %r is over or has expired: task %s is not counted",
                request.group,
                request.id,
            )
        if count.claimed:
            header = self._load_header(request.group, request)
            if header is not None:
                self._send_body(header, request)

    def _delete_marks(self, group_id: str, header: Any) -> None:
        self._chords.finish(group_id)
