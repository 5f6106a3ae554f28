"""Entries as text for the database, and back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kombu.utils.json import dumps, loads

from taskq.schedules import crontab, maybe_schedule, rrule, schedule, solar

__all__ = ("KEYS", "definition_of", "entry_from", "schedule_from", "schedule_to")

#: Keys of an entry in ``beat_schedule``.
KEYS = frozenset(
    {"task", "schedule", "args", "kwargs", "options", "relative", "overlap", "catch_up", "jitter"}
)


def schedule_to(value: Any, *, relative: bool = False) -> dict[str, Any]:
    """Return a schedule as JSON can have it.

    Raises TypeError for schedules of other classes than ours: a database cannot hold them.
    """
    if isinstance(value, (int, float, timedelta)):
        value = maybe_schedule(value, relative)
    zone = {} if getattr(value, "_tz", None) is None else {"tz": str(value._tz)}
    if type(value) is crontab:
        fields = (
            value._orig_minute,
            value._orig_hour,
            value._orig_day_of_month,
            value._orig_month_of_year,
            value._orig_day_of_week,
        )
        return {"crontab": " ".join(map(_field, fields)), **zone}
    if type(value) is rrule:
        since = {} if value.dtstart is None else {"dtstart": value.dtstart.isoformat()}
        return {"rrule": value.rule, **since, **zone}
    if type(value) is solar:
        return {"solar": [value.event, value.lat, value.lon]}
    if type(value) is schedule:
        return {"every": value.run_every.total_seconds(), "relative": value.relative, **zone}
    raise TypeError(
        f"a schedule of class {type(value).__name__} cannot be stored in a database: use seconds, "
        "crontab, rrule or solar"
    )


def _field(value: Any) -> str:
    """Return a field of a crontab, which may be a number, text or several numbers."""
    if isinstance(value, (int, str)):
        return str(value).replace(" ", "")
    return ",".join(map(str, value))


def schedule_from(value: Mapping[str, Any], app: Any) -> Any:
    """Return the schedule that `schedule_to` made this of."""
    zone = {"tz": value["tz"]} if "tz" in value else {}
    if "crontab" in value:
        minute, hour, day_of_month, month_of_year, day_of_week = value["crontab"].split()
        return crontab(minute, hour, day_of_week, day_of_month, month_of_year, app=app, **zone)
    if "rrule" in value:
        since = datetime.fromisoformat(value["dtstart"]) if "dtstart" in value else None
        return rrule(value["rrule"], since, app=app, **zone)
    if "solar" in value:
        event, lat, lon = value["solar"]
        return solar(event, lat, lon, app=app)
    return schedule(value["every"], bool(value.get("relative")), app=app, **zone)


def definition_of(entry: Mapping[str, Any]) -> str:
    """Return an entry of ``beat_schedule`` as text.

    Raises TypeError and ValueError for keys, schedules and arguments that cannot be.
    """
    unknown = set(entry) - KEYS
    if unknown:
        raise TypeError(f"unknown keys: {', '.join(sorted(unknown))}")
    for key in ("task", "schedule"):
        if not entry.get(key):
            raise TypeError(f"{key} is missing")
    fields = {key: value for key, value in entry.items() if key not in {"schedule", "relative"}}
    fields["schedule"] = schedule_to(entry["schedule"], relative=bool(entry.get("relative")))
    text: str = dumps(fields)
    return text


def entry_from(text: str, app: Any) -> dict[str, Any]:
    """Return the entry of ``beat_schedule`` that `definition_of` made this of."""
    fields: dict[str, Any] = loads(text)
    fields["schedule"] = schedule_from(fields["schedule"], app)
    return fields
