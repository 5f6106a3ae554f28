"""The scheduler's heap: entries by the time at which they are to be looked at."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from taskq.beat.clock import StepDetector, believable, shift
from taskq.beat.entries import Entries
from taskq.beat.entry import ScheduleEntry
from taskq.beat.scheduler.schedule import ScheduleKeeper
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds, maybe_make_aware

__all__ = ("DEFAULT_MAX_INTERVAL", "EntryHeap", "event_t")

logger = get_logger("celery.beat")

#: Seconds the scheduler sleeps at most.
DEFAULT_MAX_INTERVAL = 300


class event_t(NamedTuple):  # noqa: N801 - the public name
    """Item of the heap: when to look at an entry (Unix time), its priority, and the entry."""

    time: float
    priority: int
    entry: Any


class EntryHeap(ScheduleKeeper):
    """Side of the scheduler that knows which entry is due next."""

    #: Longest sleep in seconds.
    max_interval: float = DEFAULT_MAX_INTERVAL

    _heap: list[event_t] | None = None
    #: What `schedules_equal` compares with, for schedulers that have one of their own.
    old_schedulers: Any = None
    _seen_version: tuple[int, int] | None = None
    #: Whether entries that want it are forgiven what they missed before the heap is made.
    _forgive = True
    _clock: StepDetector

    def populate_heap(
        self,
        event_t: Any = event_t,
        heapify: Callable[[list[Any]], None] = heapq.heapify,
    ) -> None:
        """Put all entries on the heap."""
        heap = []
        forgive, self._forgive = self._forgive, False
        for entry in list(self.schedule.values()):
            believable(entry)
            if forgive and isinstance(entry, ScheduleEntry) and not self._was_awaited(entry):
                entry.forgive_downtime()
            heap.append(event_t(*self._place(entry)))
        heapify(heap)
        self._heap = heap

    def _was_awaited(self, entry: ScheduleEntry) -> bool:
        """Return whether a beat was at work when an entry became due; of `Heir`."""
        raise NotImplementedError

    def _place(self, entry: Any) -> tuple[float, int, Any]:
        priority = entry.options.get("priority", 5) if entry.options else 5
        if not isinstance(priority, int):
            priority = 5
        try:
            is_due, delay = entry.is_due()
        except Exception as exc:
            self._is_due_failed(entry, exc)
            return time.time() + self.max_interval, priority, entry
        if not isinstance(delay, (int, float)):
            # Never again, as far as its schedule knows.
            delay = self.max_interval
        return self._when(entry, 0 if is_due else delay), priority, entry

    def _is_due_failed(self, entry: Any, exc: BaseException | None = None) -> None:
        """Tell that an entry's schedule doesn't work; the other entries go on."""
        logger.error(
            "beat: cannot tell when periodic task %s is due, trying again in %s: %r",
            entry.name,
            humanize_seconds(self.max_interval),
            exc,
            exc_info=exc,
        )

    def _when(self, entry: Any, next_time_to_run: float | None, mktime: Any = None) -> float:
        """Return the Unix time so many seconds from now, by the entry's clock."""
        now = maybe_make_aware(entry.default_now())
        return float(now.timestamp()) + (next_time_to_run or 0)

    def adjust(self, n: float | None, drift: float = -0.010) -> float | None:
        """Return a delay made shorter by what it takes to wake up; for schedulers of others."""
        return n + drift if n and n > 0 else n

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Return whether the entries are the same as those on the heap."""
        if set(old_schedules or {}) != set(new_schedules or {}):
            return False
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        return all(old_schedules[name] == entry for name, entry in new_schedules.items())

    def _schedule_changed(self) -> bool:
        schedule = self.schedule
        if isinstance(schedule, Entries) and (
            type(self).schedules_equal is EntryHeap.schedules_equal
        ):
            seen = id(schedule), schedule.version
            changed, self._seen_version = seen != self._seen_version, seen
            return changed
        if self.schedules_equal(self.old_schedulers, schedule):
            return False
        self.old_schedulers = dict(schedule)
        return True

    def _follow_clock(self) -> None:
        step = self._clock.step()
        if not step:
            return
        logger.warning(
            "beat: the clock was set %s by %s. Intervals go on, crontabs follow the clock.",
            "forward" if step > 0 else "back",
            humanize_seconds(abs(round(step, 1))),
        )
        for entry in self.schedule.values():
            shift(entry, step)
        self._heap = None
