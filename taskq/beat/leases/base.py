"""What a lease does, wherever it is kept.

No clocks are compared: who holds it counts up, and who wants it sees that the count stands still.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.utils.json import dumps, loads

from taskq.app.drafts import Draft
from taskq.transport import Connection
from taskq.utils.log import get_logger

__all__ = ("BrokerLease", "Fenced", "Holder", "Intent", "Lease", "OutboxLease", "Run")

logger = get_logger("celery.beat")

#: Seconds for which it is remembered which runs may have been sent twice, and which of their
#: messages were taken: longer than any of them waits in a queue, or a leader sleeps.
REMEMBERED = 30 * 24 * 3600


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
        key: what tells the run from others, the same in every beat; empty if nobody asks.
    """

    last_run_at: datetime
    total_run_count: int
    task_id: str = ""
    key: str = ""

    def to_text(self) -> str:
        """Return it as it is stored."""
        task_id = self.task_id or ("-" if self.key else "")
        parts = (self.total_run_count, self.last_run_at.isoformat(), task_id, self.key)
        return " ".join(map(str, parts)).rstrip()

    @classmethod
    def from_text(cls, text: str) -> Run:
        """Return it from what `to_text` returned."""
        count, time, task_id, key = (*text.split(" ", 3), "", "")[:4]
        return cls(datetime.fromisoformat(time), int(count), task_id.removeprefix("-"), key)


@dataclass(frozen=True, slots=True)
class Intent:
    """A run that is about to be sent.

    Parameters:
        entry: name of the entry.
        run: with its key.
        messages: what is to be sent, none if the run is left out.
    """

    entry: str
    run: Run
    messages: tuple[Draft, ...]

    def to_text(self) -> str:
        """Return it as it is stored. Raises TypeError for headers that JSON cannot have."""
        fields = {
            "entry": self.entry,
            "run": self.run.to_text(),
            "messages": [draft.to_fields() for draft in self.messages],
        }
        text: str = dumps(fields)
        return text

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> list[Intent]:
        """Return them from what `to_text` returned; those that cannot be read are told about."""
        intents = []
        for text in texts:
            try:
                intents.append(cls._from_text(text))
            except Exception as exc:
                # Of another version, perhaps. It must not keep everybody from leading.
                logger.error("beat: a run that may be unsent cannot be read: %r: %s", exc, text)
        return intents

    @classmethod
    def _from_text(cls, text: str) -> Intent:
        fields = loads(text)
        drafts = tuple(Draft(**draft) for draft in fields["messages"])
        return cls(fields["entry"], Run.from_text(fields["run"]), drafts)


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
    def close(self) -> None:
        """Let go of the connection."""


class BrokerLease(Lease):
    """A lease in the broker: messages and what is known of them change together."""

    @abstractmethod
    def commit(self, fence: int, intent: Intent, channel: Any) -> None:
        """Publish the messages of a run on a channel and write the run down, in one step.

        Nothing happens if that run is written down already: its messages are there. Raises Fenced
        if somebody else leads.
        """


class OutboxLease(Lease):
    """A lease beside the broker: what is to be sent is written down before, and after.

    In between nobody knows whether the broker has it, so it may come to be sent twice. Each copy
    of a message has a name, and whoever is to run it asks whether it is the first: `is_first`.
    """

    @classmethod
    def in_backend(cls, app: Any, name: str) -> OutboxLease:
        """Return the lease of this name in the result backend of an app.

        This one is for stores that are brokers too; others override it.
        """
        # Constructors are the stores': those that keep this method take a connection and a name.
        return cls(Connection(app.backend.url), name)  # type: ignore[call-arg]

    @abstractmethod
    def intend(self, fence: int, intent: Intent) -> None:
        """Write down that a run is about to be sent. Raises Fenced if somebody else leads."""

    @abstractmethod
    def settle(self, fence: int, intent: Intent, *, twice: bool) -> None:
        """Write the run down: the broker has it.

        - twice: it may have it twice, which is remembered.

        Raises Fenced if somebody else leads.
        """

    @abstractmethod
    def intents(self) -> Sequence[Intent]:
        """Return what was about to be sent, and never settled."""

    @abstractmethod
    def is_first(self, key: str, task_id: str, copy: str) -> bool:
        """Return whether a copy of a message may be run.

        If its run may have been sent twice, the first copy that is asked for may, and no other.

        - key: of the run.
        """
