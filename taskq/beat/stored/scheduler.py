"""The scheduler whose entries are in a SQL database, and may change while it runs.

Chosen by ``beat_scheduler = "database"``, or ``taskq beat -S database``.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from taskq.beat.entries import Entries
from taskq.beat.holds import require_results
from taskq.beat.scheduler import Scheduler
from taskq.beat.stored.store import ScheduleStore, open_store
from taskq.utils.log import get_logger
from taskq.utils.time import maybe_make_aware

__all__ = ("DatabaseScheduler",)

logger = get_logger("celery.beat")

#: Seconds between two looks whether an entry was changed.
POLL_INTERVAL = 1.0


class DatabaseScheduler(Scheduler):
    """Sends the entries in the database, and those of ``beat_schedule``, which it puts there.

    When tasks were sent last is written down after each tick that sent something.

    Parameters:
        args, kwargs: see `Scheduler`.
    """

    max_interval = POLL_INTERVAL

    _store: ScheduleStore | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._revision = -1
        self._polled = 0.0
        self._database_failed = False
        #: Entries whose last run is not written down yet.
        self._unwritten: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Put the entries of the settings into the database, and read all."""
        store = self._store = open_store(self.app)
        wanted = {**self._defaults(), **self._configured()}
        for name, entry in wanted.items():
            require_results(self.app, self._maybe_entry(name, entry))
            store.add(name, from_settings=True, **entry)
        for stored in store.entries():
            if stored.from_settings and stored.name not in wanted:
                store.remove(stored.name)
        self._read()

    def _read(self) -> None:
        assert self._store is not None
        # Before the entries: a change in between is seen the next time.
        revision = self._store.revision()
        entries: dict[str, Any] = {}
        for stored in self._store.entries():
            if stored.paused:
                continue
            try:
                entry = stored.entry(self.app, self.Entry)
                require_results(self.app, entry)
            except Exception as exc:
                # Written by another version, or by hand: the other entries go on.
                logger.error("beat: periodic task %s cannot be used: %r", stored.name, exc)
                continue
            known = self.data.get(stored.name)
            if known is not None and (
                stored.run is None or stored.name in self._unwritten or not _resumed(stored, known)
            ):
                entry.last_run_at = known.last_run_at
                entry.total_run_count = known.total_run_count
            if stored.run is None:
                # Since when it waits for its first run, for a beat that is started later.
                self._unwritten.setdefault(stored.name, entry)
            elif known is None:
                self._holds.remember(entry, stored.run.task_id)
            entries[stored.name] = entry
        self.data = Entries(entries)
        self._heap = None
        self._revision = revision

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Look for changes, send what is due, write it down; see `Scheduler.tick`."""
        now = time.monotonic()
        if now - self._polled >= POLL_INTERVAL:
            self._polled = now
            self._look()
        return min(super().tick(*args, **kwargs), POLL_INTERVAL)

    def _look(self) -> None:
        assert self._store is not None
        try:
            if self._unwritten:
                self.sync()
            if self._store.revision() != self._revision:
                self._read()
        except SQLAlchemyError as exc:
            if not self._database_failed:
                logger.error("beat: cannot reach the schedule's database, it goes on: %r", exc)
            self._database_failed = True
        else:
            if self._database_failed:
                logger.info("beat: the schedule's database is back.")
            self._database_failed = False

    def reserve(self, entry: Any) -> Any:
        """Write down that an entry is sent now; see `Scheduler.reserve`."""
        new_entry = super().reserve(entry)
        self._unwritten[entry.name] = new_entry
        return new_entry

    def _put_back(self, entry: Any) -> None:
        super()._put_back(entry)
        self._unwritten.pop(entry.name, None)

    def sync(self) -> None:
        """Write down the last runs."""
        if self._store is not None and self._unwritten:
            runs = {name: self.run_of(entry) for name, entry in self._unwritten.items()}
            self._store.record(runs)
            self._unwritten = {}

    def close(self) -> None:
        """Write down the last runs, and let go of database and broker."""
        super().close()
        if self._store is not None:
            self._store.close()

    @property
    def info(self) -> str:
        """Line for the banner."""
        return "    . db -> SQL database"


def _resumed(stored: Any, known: Any) -> bool:
    """Return whether the last run in the database is later than the one that beat knows."""
    return bool(stored.run.last_run_at > maybe_make_aware(known.last_run_at))
