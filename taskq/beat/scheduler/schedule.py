"""The scheduler's entries: where they come from, and how they are changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from taskq.beat.entries import Entries
from taskq.beat.entry import ScheduleEntry
from taskq.beat.holds import require_results
from taskq.schedules import crontab

__all__ = ("ScheduleKeeper",)

#: Seconds within which a task that deletes expired results must start, else the next one does it.
CLEANUP_EXPIRES = 12 * 3600


class ScheduleKeeper:
    """Side of the scheduler that has the entries."""

    #: Class of the entries.
    Entry: Any = ScheduleEntry

    app: Any
    data: Any
    #: The entries by the time they are due; None if it has to be made anew.
    _heap: Any = None

    def setup_schedule(self) -> None:
        """Take the entries from the settings, and no others; as in Celery."""
        self.install_default_entries(self.data)
        self.merge_inplace(self._configured())

    def _configured(self) -> dict[Any, Any]:
        """Return the entries that the settings define."""
        return dict(self.app.conf.beat_schedule or {})

    def install_default_entries(self, data: Any) -> None:
        """Add the task that deletes expired results, where the result backend needs it."""
        entries = {name: entry for name, entry in self._defaults().items() if name not in data}
        if entries:
            self.update_from_dict(entries)

    def _defaults(self) -> dict[str, Any]:
        if not self.app.conf.result_expires or self.app.backend.supports_autoexpire:
            return {}
        return {
            "celery.backend_cleanup": {
                "task": "celery.backend_cleanup",
                "schedule": crontab("0", "4", "*"),
                "options": {"expires": CLEANUP_EXPIRES},
            }
        }

    def add(self, **kwargs: Any) -> Any:
        """Add an entry, made of these arguments of `ScheduleEntry`, and return it."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        try:
            return self.Entry(**dict(entry, name=name, app=self.app))
        except TypeError as exc:
            raise TypeError(f"Periodic task {name!r} in beat_schedule: {exc}") from exc

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries given as in ``beat_schedule``."""
        self.schedule.update({name: self._maybe_entry(name, e) for name, e in dict_.items()})

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Have the entries of ``b`` and no others; those there already keep their last run."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            schedule.pop(name, None)
        for name, given in b.items():
            entry = self._maybe_entry(name, given)
            if entry.name != name:
                entry = copy(entry)
                entry.name = name
            require_results(self.app, entry)
            if name in schedule:
                if schedule[name] != entry:
                    self._heap = None
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def get_schedule(self) -> Any:
        """Return the entries by name."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Replace the entries."""
        self.data = schedule if isinstance(schedule, Entries) else Entries(schedule)
        self._heap = None

    @property
    def schedule(self) -> Any:
        """The entries by name."""
        return self.get_schedule()

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self.set_schedule(schedule)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.schedule.values())

    @property
    def info(self) -> str:
        """Line for the banner."""
        return ""
