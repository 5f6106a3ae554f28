"""Schedules in a SQL database, changed while beat runs. Needs the extra ``sqlalchemy``.

Code and ``taskq schedule`` change a `ScheduleStore`; a `DatabaseScheduler` sends what is in it.
"""

from __future__ import annotations

from taskq.beat.stored.scheduler import DatabaseScheduler
from taskq.beat.stored.store import ScheduleStore, StoredEntry, UnknownEntry, open_store

__all__ = ("DatabaseScheduler", "ScheduleStore", "StoredEntry", "UnknownEntry", "open_store")
