"""Which queues a channel consumes, and which of their lists a claim is to look at."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from taskq.transport.redis.keys import ListNames
from taskq.transport.redis.message import Message
from taskq.transport.redis.resp import pack_argument

#: Combinations of lists whose packed names are kept.
CACHE_SIZE = 256


@dataclass(slots=True)
class Consumer:
    """Who gets the messages of a queue.

    - callbacks: by consumer tag; the last one gets the messages.
    """

    queue: str
    no_ack: bool
    callbacks: dict[str, Callable[[Message], Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueueList:
    """One list of a consumed queue.

    - name: the full key.
    - ending: what stands behind the payload of its messages in `unacked`; empty for no_ack.
    """

    name: str
    queue: str
    ending: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Lists that a claim looks at, in order, with their names and endings packed."""

    lists: Sequence[QueueList]
    names: bytes
    endings: bytes

    @classmethod
    def of(cls, lists: Sequence[QueueList]) -> Selection:
        """Return the selection of these lists."""
        return cls(
            lists,
            b"".join(pack_argument(entry.name) for entry in lists),
            b"".join(pack_argument(entry.ending) for entry in lists),
        )


#: For a call that claims nothing.
NO_LISTS = Selection.of([])


class Consumers:
    """The consumers of one channel, by queue.

    - names: how lists are named.
    """

    def __init__(self, names: ListNames) -> None:
        self._names = names
        self._consumers: dict[str, Consumer] = {}
        self._lists: dict[str, list[QueueList]] = {}
        self._selections: dict[tuple[str, ...], Selection] = {}

    def __bool__(self) -> bool:
        return bool(self._consumers)

    def __len__(self) -> int:
        return len(self._consumers)

    def __contains__(self, queue: object) -> bool:
        return queue in self._consumers

    @property
    def queues(self) -> set[str]:
        """Names of the queues."""
        return set(self._consumers)

    @property
    def acknowledge(self) -> bool:
        """Whether any consumer acknowledges, so that messages are held."""
        return any(not consumer.no_ack for consumer in self._consumers.values())

    @property
    def list_names(self) -> set[str]:
        """Full names of all lists."""
        return {entry.name for lists in self._lists.values() for entry in lists}

    @property
    def urgent_names(self) -> set[str]:
        """Full names of the lists of the first priority step."""
        return {lists[0].name for lists in self._lists.values()}

    def add(
        self, queue: str, tag: str, callback: Callable[[Message], Any], *, no_ack: bool
    ) -> None:
        """Deliver the messages of a queue to a callback."""
        consumer = self._consumers.get(queue)
        if consumer is None or consumer.no_ack != no_ack:
            consumer = self._consumers[queue] = Consumer(queue, no_ack)
        consumer.callbacks[tag] = callback
        self._lists[queue] = self.lists_of(queue, no_ack=no_ack)
        self._selections.clear()

    def remove(self, queue: str, tag: str) -> None:
        """Stop delivering to a callback."""
        consumer = self._consumers.get(queue)
        if consumer is None:
            return
        consumer.callbacks.pop(tag, None)
        if not consumer.callbacks:
            del self._consumers[queue], self._lists[queue]
            self._selections.clear()

    def clear(self) -> None:
        """Remove all consumers."""
        self._consumers.clear()
        self._lists.clear()
        self._selections.clear()

    def callback(self, queue: str) -> Callable[[Message], Any] | None:
        """Return who gets a message of a queue, None if nobody does any more."""
        consumer = self._consumers.get(queue)
        if consumer is None:
            return None
        *_, callback = consumer.callbacks.values()
        return callback

    def lists_of(self, queue: str, *, no_ack: bool) -> list[QueueList]:
        """Return the lists of a queue, the most urgent first."""
        ending = "" if no_ack else entry_ending(queue)
        return [
            QueueList(self._names.of_step(queue, step), queue, ending) for step in self._names.steps
        ]

    def select(self, dirty: Collection[str], cycle: Any, most: int | None = None) -> Selection:
        """Return the lists to look at, the most preferred first.

        - dirty: names of the lists that may have messages.
        - cycle: kombu's order of the queues; priorities come before it.
        - most: no more lists than this; None for all.
        """
        queues = cycle.consume(len(self._consumers)) if len(self._consumers) > 1 else self.queues
        in_order = (
            entry
            for step in range(len(self._names.steps))
            for queue in queues
            if (entry := self._lists[queue][step]).name in dirty
        )
        lists = list(islice(in_order, len(dirty) if most is None else min(most, len(dirty))))
        names = tuple(entry.name for entry in lists)
        selection = self._selections.get(names)
        if selection is None:
            if len(self._selections) >= CACHE_SIZE:
                self._selections.clear()
            selection = self._selections[names] = Selection.of(lists)
        return selection


def entry_ending(queue: str) -> str:
    """Return what kombu's format has behind the payload: no exchange, and the queue as its key."""
    return f', "", {json.dumps(queue)}]'
