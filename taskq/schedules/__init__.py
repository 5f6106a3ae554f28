"""Schedules: when periodic tasks are due. They know nothing of messages or beat.

Beat asks `is_due` and sends; `app.add_periodic_task` and ``beat_schedule`` make them.
"""

from __future__ import annotations

from taskq.schedules.base import BaseSchedule, schedstate
from taskq.schedules.cron import crontab
from taskq.schedules.cronfields import Cronspec, ParseException, cronfield, crontab_parser
from taskq.schedules.interval import maybe_schedule, schedule
from taskq.schedules.recurrence import rrule
from taskq.schedules.sun import solar

__all__ = (
    "BaseSchedule",
    "Cronspec",
    "ParseException",
    "cronfield",
    "crontab",
    "crontab_parser",
    "maybe_schedule",
    "rrule",
    "schedstate",
    "schedule",
    "solar",
)

for _class in (BaseSchedule, crontab, rrule, schedule, solar, schedstate):
    # Stored schedules name their class: let that be where it stays.
    _class.__module__ = __name__
del _class
