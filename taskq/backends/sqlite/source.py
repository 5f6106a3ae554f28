"""Waiting for results: listens for the bell that every stored result rings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from taskq.backends.sqlite.store import SQL, ResultStore
from taskq.backends.unreadable import decoded
from taskq.backends.waiting import Meta, ResultSource, Wakeup
from taskq.transport.sqlite.bell import Listener, results_bell
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseUnavailable
from taskq.transport.sqlite.options import Options

__all__ = ("SQLiteSource",)

#: Pause (seconds) after the bell rang for results that nobody here waits for, so that a process
#: that waits for one result is not kept busy by thousands of others.
BYSTANDER_PAUSE = 0.001


class SQLiteSource(ResultSource):
    """Tells of results as they are stored, with a connection of its own.

    1. `begin` listens, notes the number of the last change and reads the ids it was given;
    2. `drain` waits for the bell and reads the changes since, of which it picks its own.

    Parameters:

    - `options`: the file.
    - `key_of`: makes the key of a task's id.
    - `decode`: makes the meta of a stored value.
    """

    recoverable_errors = (DatabaseUnavailable,)

    def __init__(
        self, options: Options, key_of: Callable[[str], str], decode: Callable[[object], Meta]
    ) -> None:
        self.path = options.path
        self._database = Database(options)
        self._store = ResultStore(self._database)
        self._listener = Listener(self._database, results_bell)
        self._key_of = key_of
        self._decode = decode
        #: Key -> task id.
        self._watched: dict[str, str] = {}
        self._last_change: int | None = None
        self._opened = False

    @property
    def is_open(self) -> bool:
        """Whether the file is open, and listened to."""
        return self._opened

    def open(self) -> None:
        """Open the file and listen; `begin` does so by itself."""
        self._listener.start()
        self._opened = True

    def begin(self, task_ids: Sequence[str]) -> Iterable[Meta]:
        self.open()
        if self._last_change is None:
            self._last_change = self._database.read(SQL["last_change"])[0][0]
        keys = {self._key_of(task_id): task_id for task_id in task_ids}
        self._watched.update(keys)
        return self._read(list(keys))

    def end(self, task_ids: Sequence[str]) -> None:
        for task_id in task_ids:
            self._watched.pop(self._key_of(task_id), None)
        if not self._watched:
            # Whoever waits next need not look at what changes until then.
            self._last_change = None

    def drain(self, timeout: float, wakeup: Wakeup) -> Iterable[Meta]:
        deadline = time.monotonic() + timeout
        while True:
            # After a fork by another thread the log may be a new file.
            self._listener.start()
            metas = self._read(self._changed_keys())
            left = deadline - time.monotonic()
            if metas or left <= 0 or wakeup.is_set():
                return metas
            if self._listener.wait(left, wakeup.fileno()):
                metas = self._read(self._changed_keys())
                if metas:
                    return metas
                time.sleep(min(BYSTANDER_PAUSE, max(0.0, deadline - time.monotonic())))

    def changes(self) -> Iterable[Meta]:
        """Return what has changed since the last look, without waiting; for event loops.

        The bell is silent then until something else changes.
        """
        # After a fork by another thread the log may be a new file.
        self._listener.start()
        self._listener.rang()
        return self._read(self._changed_keys())

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when the bell rang, None if one must poll."""
        return self._listener.fileno()

    def poll_interval(self) -> float | None:
        """Return the seconds after which to look again, None if there is a descriptor."""
        return self._listener.poll_interval()

    def disconnect(self) -> None:
        self._opened = False
        self._listener.close()
        self._database.close()
        self._watched.clear()
        self._last_change = None

    def after_fork(self) -> None:
        self._opened = False
        self._watched.clear()
        self._last_change = None

    def _changed_keys(self) -> list[str]:
        """Return the watched keys among the changes since the last call, oldest first."""
        changes = self._database.read(SQL["changes"], (self._last_change or 0,))
        if changes:
            self._last_change = changes[-1][0]
        return [key for _, key in changes if key in self._watched]

    def _read(self, keys: Sequence[str]) -> list[Meta]:
        if not keys:
            return []
        values = self._store.get_many(keys)
        return [
            decoded(self._watched[key], self._decode, values[key]) for key in keys if key in values
        ]
