"""The scheduler that remembers, in a file, when tasks were sent last.

The default of ``beat_scheduler``.
"""

from __future__ import annotations

import errno
import shelve
from collections.abc import Mapping
from typing import Any

from taskq import __version__
from taskq.beat.entries import Entries
from taskq.beat.entry import ScheduleEntry
from taskq.beat.scheduler import Scheduler
from taskq.beat.storefile import SUFFIXES, open_shelf, set_aside
from taskq.utils.log import get_logger

__all__ = ("PersistentScheduler",)

logger = get_logger("celery.beat")

#: Key in the file of the runs that overlap-policies care about. Celery does not look at it.
UNFINISHED = "taskq.unfinished"
#: Errors of a file that is locked by another beat, or where none can be written.
NOT_THE_FILES_FAULT = frozenset(
    {errno.EACCES, errno.EAGAIN, errno.EIO, errno.ENOENT, errno.ENOSPC, errno.EPERM, errno.EROFS}
)


class PersistentScheduler(Scheduler):
    """Keeps the schedule in a file: when tasks were sent last, and how often.

    Which entries there are is up to the settings; those that are in both go on from their last
    run. A file that cannot be read is set aside, and a new one begun.

    Where one of several beats leads, the last runs are in its lease, and beats may have one file:
    it is closed again once it was read, and the leader writes it.

    Parameters:
        schedule_filename: path of the file; the database may append a suffix.
        args, kwargs: see `Scheduler`.
    """

    #: What opens databases; for those who look.
    persistence = shelve
    #: Suffixes of the files that a database may consist of.
    known_suffixes = SUFFIXES

    _store: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.schedule_filename: str = kwargs.get("schedule_filename") or "celerybeat-schedule"
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Read the file, and bring it in line with the settings."""
        stored = self._read()
        self.data = Entries(stored)
        for entry in self.data.values():
            entry.app = self.app
            entry.schedule.app = self.app
        self.merge_inplace({**self._defaults(), **self._configured()})
        for name, task_id in self._read_unfinished().items():
            if name in self.data:
                self._holds.remember(self.data[name], task_id)
        if self._is_one_of_several:
            self._forget_store()
        self.sync()
        logger.debug("Current schedule:\n%s", "\n".join(map(repr, self.data.values())))

    def _read(self) -> dict[str, Any]:
        """Return the entries in the file; none if it had to be set aside.

        Raises OSError if the file cannot be used at all, as in a directory that is not writable.
        """
        try:
            self._store = self._open_schedule()
            entries = self._store.get("entries", {})
            _check(entries)
        except OSError as exc:
            if exc.errno in NOT_THE_FILES_FAULT:
                exc.filename = exc.filename or self.schedule_filename
                raise
            self._destroy_open_corrupted_schedule(exc)
            return {}
        except Exception as exc:
            self._destroy_open_corrupted_schedule(exc)
            return {}
        return dict(entries)

    def _read_unfinished(self) -> dict[str, str]:
        """Return the ids of the runs that were unfinished by entry."""
        try:
            return {str(name): str(id_) for name, id_ in self._store.get(UNFINISHED, {}).items()}
        except Exception as exc:
            logger.error("beat: which tasks were still running cannot be read: %r", exc)
            return {}

    def _open_schedule(self) -> Any:
        return open_shelf(self.schedule_filename)

    def _destroy_open_corrupted_schedule(self, exc: BaseException) -> Any:
        """Set the file aside and begin a new one."""
        self._forget_store()
        moved = self._remove_db()
        if not moved:
            raise exc
        logger.error(
            "beat: the schedule file %r cannot be read (%r). It is kept as %s; tasks count as if "
            "they had been sent now.",
            self.schedule_filename,
            exc,
            ", ".join(moved),
        )
        self._store = self._open_schedule()
        return self._store

    def _remove_db(self) -> list[str]:
        return set_aside(self.schedule_filename)

    def _forget_store(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            store.close()
        except Exception as exc:
            logger.debug("beat: closing the schedule file failed: %r", exc)

    @property
    def _is_one_of_several(self) -> bool:
        return bool(self.app.conf.beat_leader_lease)

    def sync(self) -> None:
        """Write the schedule to the file."""
        if self._store is None and self.ledger is not None and self.ledger.leads:
            self._store = self._open_schedule()
            try:
                self._write()
            finally:
                self._forget_store()
        elif self._store is not None:
            self._write()

    def _write(self) -> None:
        # Plain dicts and lists: Celery reads this too.
        self._store["entries"] = dict(self.data)
        self._store["__version__"] = __version__
        unfinished = self._holds.task_ids()
        if unfinished or UNFINISHED in self._store:
            self._store[UNFINISHED] = unfinished
        self._store["tz"] = self.app.conf.timezone
        self._store["utc_enabled"] = self.app.conf.enable_utc
        self._store.sync()

    def close(self) -> None:
        """Write the file and close it."""
        self.sync()
        self._forget_store()
        self._disconnect()

    @property
    def info(self) -> str:
        """Line for the banner."""
        return f"    . db -> {self.schedule_filename}"


def _check(entries: Any) -> None:
    """Raise ValueError if a file has something else than entries where these should be."""
    if not isinstance(entries, Mapping):
        raise ValueError(f"entries are {type(entries).__name__}, not a mapping")
    for name, entry in entries.items():
        if not isinstance(entry, ScheduleEntry):
            raise ValueError(f"entry {name!r} is {type(entry).__name__}, not a ScheduleEntry")
