"""What a lease does, wherever it is kept.

No clocks are compared: who holds it counts up, and who wants it sees that the count stands still.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ("Fenced", "Holder", "Lease", "Prepared", "Run")

#: A message as a channel prepares it, with its exchange and routing key.
Prepared = tuple[Any, str, str]


class Fenced(Exception):
    """Somebody else leads by now: nothing was sent or written."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lease.

    Parameters:
        owner: id of the beat; empty if it was given back.
        fence: grows by one with each new holder.
        count: grows while the holder lives.
    """

    owner: str = ""
    fence: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """When an entry was sent last, and how often it was.

    Parameters:
        last_run_at: with a zone.
        total_run_count: 0 before the first time.
        task_id: of the last run, where the next one may have to wait for its end; else empty.
    """

    last_run_at: datetime
    total_run_count: int
    task_id: str = ""

    def to_text(self) -> str:
        """Return it as it is stored."""
        return f"{self.total_run_count} {self.last_run_at.isoformat()} {self.task_id}".rstrip()

    @classmethod
    def from_text(cls, text: str) -> Run:
        """Return it from what `to_text` returned."""
        count, time, *task_id = text.split(" ", 2)
        return cls(datetime.fromisoformat(time), int(count), *task_id)


class Lease(ABC):
    """The lease and the shared last runs. All methods raise errors of the store's connection."""

    @abstractmethod
    def look(self) -> Holder:
        """Return who holds it."""

    @abstractmethod
    def take(self, owner: str, seen: Holder) -> int | None:
        """Make `owner` the holder if it is still held as `seen`; return the fence, or None."""

    @abstractmethod
    def renew(self, fence: int) -> bool:
        """Count up; return False if somebody else holds it."""

    @abstractmethod
    def release(self, fence: int) -> None:
        """Give it back, unless somebody else holds it."""

    @abstractmethod
    def runs(self) -> dict[str, Run]:
        """Return the last runs by entry."""

    @abstractmethod
    def seed(self, runs: Mapping[str, Run]) -> None:
        """Write the last runs of entries that have none there."""

    @abstractmethod
    def commit(
        self, fence: int, entry: str, run: Run, messages: Sequence[Prepared], channel: Any
    ) -> None:
        """Publish the messages of a run on a channel of the broker, and write the run down.

        In one step where the lease is in the broker. Raises Fenced if somebody else leads.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""
