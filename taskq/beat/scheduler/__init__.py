"""The scheduler: a heap of entries by the time they are due, and what sends those that are.

Run by `taskq.beat.service.Service`, one `tick` after the other. Each of the modules of this package
is one side of the class.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from typing import Any

from kombu import Producer as KombuProducer

from taskq.beat.clock import StepDetector, is_interval
from taskq.beat.entries import Entries
from taskq.beat.holds import Holds
from taskq.beat.leases import Fenced
from taskq.beat.scheduler.errors import BrokerUnreachable, SchedulingError, Unsent
from taskq.beat.scheduler.handover import Heir
from taskq.beat.scheduler.heap import DEFAULT_MAX_INTERVAL, event_t
from taskq.beat.scheduler.sending import EntrySender
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds

__all__ = ("DEFAULT_MAX_INTERVAL", "BrokerUnreachable", "Scheduler", "SchedulingError", "event_t")

logger = get_logger("celery.beat")


class Scheduler(EntrySender, Heir):
    """Sends periodic tasks when they are due; keeps the schedule in memory.

    Parameters:
        app: the app.
        schedule: entries to begin with, by name.
        max_interval: longest sleep in seconds, ``beat_max_loop_interval`` by default.
        Producer: class of the producer, the app's by default.
        lazy: don't read the settings yet.
        sync_every_tasks: number of tasks sent after which the schedule is stored, 0 for none;
            ``beat_sync_every`` by default.
    """

    #: Where what happens is told.
    logger: logging.Logger = logger

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,  # noqa: N803 - the public name
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = Entries(schedule or {})
        self.max_interval = (
            max_interval or app.conf.beat_max_loop_interval or type(self).max_interval
        )
        self.Producer = Producer or getattr(app.amqp, "Producer", None) or KombuProducer
        self.sync_every_tasks = (
            app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        )
        self._clock = StepDetector()
        self._holds = Holds(app)
        if not lazy:
            self.setup_schedule()

    def tick(
        self,
        event_t: Any = event_t,
        min: Callable[..., Any] = min,
        heappop: Callable[..., Any] = heapq.heappop,
        heappush: Callable[..., Any] = heapq.heappush,
    ) -> float:
        """Send the first task if it is due; return the seconds until the next call.

        Never raises for an entry: one that fails is told about and waits, the rest goes on.
        """
        self._follow_clock()
        if self._schedule_changed() or self._heap is None:
            self.populate_heap()
        if self.ledger is not None and self.ledger.has_unsent and (pause := self._send_left()):
            return pause
        heap = self._heap
        if not heap:
            return self.max_interval
        event = heap[0]
        entry = event.entry
        wait = 0.0
        try:
            is_due, delay = self.is_due(entry)
            wait = self._holds.wait(entry) if is_due else 0.0
        except Exception as exc:
            self._is_due_failed(entry, exc)
            is_due, delay = False, self.max_interval
        if not isinstance(delay, (int, float)):
            delay = self.max_interval
        if not is_due:
            if event.time <= self._when(entry, 0):
                # Its time was another one when it was put there: let others come first.
                heapq.heapreplace(heap, event_t(self._when(entry, delay), event.priority, entry))
                delay = heap[0].time - self._when(entry, 0)
            return self._nap(delay)
        if wait:
            heapq.heapreplace(heap, event_t(self._when(entry, wait), event.priority, entry))
            head = heap[0]
            return self._nap(head.time - self._when(head.entry, 0))
        heappop(heap)
        return self._run(event, delay)

    def _nap(self, delay: float) -> float:
        return float(max(min(delay, self.max_interval), 0))

    def is_due(self, entry: Any) -> Any:
        """Return whether an entry is due, and the seconds until it is worth asking again."""
        return entry.is_due()

    def _send_left(self) -> float:
        """Send what was written down and not sent; return how long to wait if that fails."""
        try:
            self._send_written()
            self._broker_is_there()
        except Unsent as exc:
            return self._broker_is_away(exc)
        except Fenced:
            self.ledger.deposed()
            return float(self.ledger.patience())
        return 0.0

    def _run(self, event: event_t, delay: float) -> float:
        """Send an entry that was popped from the heap, and put it back where it belongs next."""
        entry = next_entry = event.entry
        pause = 0.0
        try:
            left_out = self._holds.skips(entry)
            # Reserved first: sending may take longer than it is until the next time.
            next_entry = self.reserve(entry)
            if left_out:
                next_entry.total_run_count = entry.total_run_count
            self._send(entry, next_entry, None if left_out else self.apply_entry)
        except Unsent as exc:
            pause = self._broker_is_away(exc)
        except BrokerUnreachable as exc:
            self._put_back(entry)
            pause = self._broker_is_away(exc)
            # Others first, in case it is the fault of this one.
            self._push(entry, pause, event.priority)
            return pause
        except Fenced:
            self._put_back(entry)
            self._push(entry, 0, event.priority)
            self.ledger.deposed()
            return 0
        except Exception as exc:
            # Of a schedule or an entry of somebody else's making: the others go on.
            self._failed(entry, exc)
            self._push(entry, self.max_interval, event.priority)
            return 0
        if self._catches_up(entry) or is_interval(next_entry):
            # Due a full interval after the time it was due at, not after it was sent.
            self._push_event(event_t(*self._place(next_entry)))
        else:
            self._push(next_entry, delay, event.priority)
        return pause

    def _push(self, entry: Any, seconds: float, priority: int) -> None:
        """Have an entry looked at in so many seconds."""
        self._push_event(event_t(self._when(entry, seconds), priority, entry))

    def _push_event(self, event: event_t) -> None:
        # None if the entries were changed while one was sent: then all are put there anew.
        if self._heap is not None:
            heapq.heappush(self._heap, event)

    def _failed(self, entry: Any, exc: BaseException) -> None:
        logger.error(
            "beat: periodic task %s failed, trying again in %s: %r",
            entry.name,
            humanize_seconds(self.max_interval),
            exc,
            exc_info=exc,
        )

    def _send(self, entry: Any, next_entry: Any, apply_entry: Any) -> None:
        if self.ledger is not None:
            self._write_down(entry, next_entry, apply_entry)
        elif apply_entry is not None:
            apply_entry(entry, producer=self.producer)
        else:
            return
        self._broker_is_there()

    def reserve(self, entry: Any) -> Any:
        """Write down that an entry is sent now; return it as it is afterwards."""
        schedule = self.schedule
        new_entry = entry.next(entry.due_time()) if self._catches_up(entry) else next(entry)
        if isinstance(schedule, Entries):
            schedule.advance(entry.name, new_entry)
        else:
            schedule[entry.name] = new_entry
        return new_entry

    def _put_back(self, entry: Any) -> None:
        schedule = self.schedule
        if isinstance(schedule, Entries):
            schedule.advance(entry.name, entry)
        else:
            schedule[entry.name] = entry

    def close(self) -> None:
        """Store the schedule, and let go of the broker."""
        self.sync()
        self._disconnect()
