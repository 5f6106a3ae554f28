"""Beat: sends periodic tasks when they are due, to workers that need know nothing of it.

Started by ``taskq beat`` and ``taskq worker -B``. Tasks are defined in ``beat_schedule``.
"""

from __future__ import annotations

from taskq.beat.entry import BeatLazyFunc, ScheduleEntry
from taskq.beat.persistent import PersistentScheduler
from taskq.beat.pidbox import NODENAME_DEFAULT, BeatPidbox, beat_nodename
from taskq.beat.scheduler import DEFAULT_MAX_INTERVAL, Scheduler, SchedulingError, event_t
from taskq.beat.service import EmbeddedService, Service

__all__ = (
    "DEFAULT_MAX_INTERVAL",
    "NODENAME_DEFAULT",
    "BeatLazyFunc",
    "BeatPidbox",
    "EmbeddedService",
    "PersistentScheduler",
    "ScheduleEntry",
    "Scheduler",
    "SchedulingError",
    "Service",
    "beat_nodename",
    "event_t",
)

for _class in (BeatLazyFunc, PersistentScheduler, ScheduleEntry, Scheduler, Service):
    # Stored schedules name their class: let that be where it stays.
    _class.__module__ = __name__
del _class
