"""What a scheduler writes down for other beats, and how it goes on where one of them stopped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from taskq.beat.entry import ScheduleEntry
from taskq.beat.holds import Holds
from taskq.beat.leases import Fenced, Run
from taskq.beat.scheduler.errors import BrokerUnreachable, Unsent
from taskq.beat.scheduler.heap import EntryHeap
from taskq.utils.time import maybe_make_aware

__all__ = ("Heir",)


class Heir(EntryHeap):
    """Side of the scheduler that is one of several; see `taskq.beat.leader`."""

    #: Where runs are written down for other beats, while this one leads.
    ledger: Any = None
    #: Times missed between these are all sent: another beat led, or this one stood by.
    _recover_since: datetime | None = None
    _recover_until: datetime | None = None
    _holds: Holds
    #: The producer to send with; of `taskq.beat.scheduler.link`.
    producer: Any

    def adopt(
        self, runs: Mapping[str, Run], ledger: Any, *, since: datetime | None
    ) -> dict[str, Run]:
        """Go on where another beat stopped; from now on runs are written down in a ledger.

        - runs: last runs by entry.
        - since: when beats were at work, all the time until now: what was missed is sent. None if
          they were since the last runs.

        Returns the last runs of entries that are not in `runs`.
        """
        self.ledger = ledger
        missing = {}
        for name, entry in self.schedule.items():
            last = maybe_make_aware(entry.last_run_at)
            run = runs.get(name)
            if run is None:
                missing[name] = self.run_of(entry)
            elif run.last_run_at > last or not entry.total_run_count:
                entry.last_run_at, entry.total_run_count = run.last_run_at, run.total_run_count
                self._holds.remember(entry, run.task_id)
        self._forgive = since is not None
        self._recover_since, self._recover_until = since, self.app.now()
        self._heap = None
        return missing

    def run_of(self, entry: Any) -> Run:
        """Return the last run of an entry, to be stored."""
        last = maybe_make_aware(entry.last_run_at)
        return Run(last, entry.total_run_count, self._holds.task_id(entry.name))

    def _write_down(self, entry: Any, next_entry: Any, apply_entry: Any) -> None:
        """Write a run down, and send it.

        Raises Fenced; Unsent if it was written down, BrokerUnreachable if it was not.
        """
        with _unreachable(BrokerUnreachable):
            self.ledger.send(entry, next_entry, self.producer, apply_entry)
        self._send_written()

    def _send_written(self) -> None:
        """Send what was written down. Raises Fenced, Unsent."""
        if self.ledger.has_unsent:
            with _unreachable(Unsent):
                self.ledger.flush(self.producer)

    def _catches_up(self, entry: Any) -> bool:
        """Return whether each of the times that an entry missed is sent."""
        if not isinstance(entry, ScheduleEntry):
            return False
        if entry.policies.catch_up == "all":
            return True
        until = self._recover_until
        if until is None or maybe_make_aware(entry.last_run_at) >= until:
            return False
        return bool(entry.due_time() < until and self._was_awaited(entry))

    def _was_awaited(self, entry: ScheduleEntry) -> bool:
        """Return whether a beat was at work when an entry became due, before this one led."""
        if self._recover_until is None:
            return False
        return self._recover_since is None or entry.due_time() >= self._recover_since


@contextmanager
def _unreachable(error: type[BrokerUnreachable]) -> Iterator[None]:
    """Raise an error of a broker or store that is to be tried again."""
    try:
        yield
    except Fenced:
        raise
    except Exception as exc:
        if isinstance(exc, error):
            raise
        # Of the store or the broker, which are the same mostly; tried again.
        raise error(str(exc) or repr(exc)) from exc
