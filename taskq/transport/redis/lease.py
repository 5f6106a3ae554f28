"""The lease: which messages a channel holds, and what is still to be told the server about them.

It outlives the channel's connection: after a break the next channel takes it over, with the
messages that are still being worked on and the acknowledgements that the server may not have seen.
Its keeper renews it meanwhile.
"""

from __future__ import annotations

import secrets
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.log import get_logger

from taskq.transport.redis import detached
from taskq.transport.redis.consumers import entry_ending
from taskq.transport.redis.keeper import Keeper
from taskq.transport.redis.keys import Keys, ListNames
from taskq.transport.redis.restore import Restorer
from taskq.transport.redis.wire import Wire
from taskq.utils.leaseclock import LeaseClock

if TYPE_CHECKING:
    from taskq.transport.redis.calls import Call

logger = get_logger(__name__)

#: How often a claim whose reply was lost is looked for: it may be executed late.
GHOST_CHECKS = 3

_ABSENT: Any = object()

W_FENCED = (
    "This worker was silent for longer than its lease of %g s: %d messages it held were given to "
    "others. Tasks among them may run twice."
)
W_LOST_ACK = (
    "Message %s was acknowledged too late: it had been given to another worker, and will be or has "
    "been delivered again."
)


@dataclass(frozen=True, slots=True)
class LeaseOptions:
    """What leases of one fleet have in common; equal for channels that may succeed each other.

    - url: the server, password masked.
    - seconds: the lease: a dead owner's messages are back in their lists after this time.
    - visibility_timeout: seconds after which messages of kombu processes are put back.
    - restore_interval: seconds between two looks for these.
    - restore_limit: how many are put back at once; None for all.
    - mutex_ttl: seconds that kombu's mutex for this is kept at most.
    """

    url: str
    keys: Keys
    lists: ListNames
    seconds: float
    visibility_timeout: float
    restore_interval: float
    restore_limit: int | None
    mutex_ttl: int


@dataclass(frozen=True, slots=True)
class Parking:
    """A message to park.

    - due: monotonic time.
    - queue_list: the list it returns to.
    - ending: length of the end of its entry in `unacked`.
    """

    due: float
    queue_list: str
    ending: int


@dataclass(slots=True)
class Return:
    """Messages to put back that could not be put back at once, or that may not exist.

    - checks: how often to try: a claim that nobody got the reply of may be executed late.
    """

    tags: Sequence[str]
    redelivered: bool
    next_up: bool = True
    checks: int = 1


class Lease:
    """The messages one consuming channel holds.

    - options: of the fleet.
    - wire: a connection for the keeper.

    1. Claims add to `held`; settled messages leave it for `acks` or `parks`, until a call takes
       them along.
    2. The keeper renews owner and messages for as long as the process lives.
    3. After a break `detach` leaves the lease to the next channel, which gets it from
       `detached.adopt`; until then the keeper sends what is settled.
    """

    def __init__(self, options: LeaseOptions, wire: Wire) -> None:
        self.options = options
        #: The name under which messages are held: tags are made of it.
        self.owner = _new_owner()
        #: Held messages by tag, in the order of their claims; None until delivered.
        self.held: dict[str, Any] = {}
        #: Messages held since before a break, as weak references: one that is gone can't be
        #: settled by anybody any more.
        self.orphans: dict[str, weakref.ref[Any]] = {}
        #: Acknowledged tags that no call has taken along yet.
        self.acks: list[str] = []
        #: Messages to park that no call has taken along yet.
        self.parks: dict[str, Parking] = {}
        #: Entries to put in the place of held messages, that no call has taken along yet.
        self.rewrites: dict[str, bytes] = {}
        #: Messages to put back.
        self.returns: list[Return] = []
        #: Tags that were given to others, and sets of them the channel has not heard of.
        self.lost: set[str] = set()
        self.lost_news: deque[frozenset[str]] = deque()
        #: Settled tags that the server may know of already, because a reply was lost.
        self.unsure: set[str] = set()
        #: Queues consumed; the next channel must consume one of them to take over.
        self.queues: set[str] = set()
        #: Where the pool sees until when this is good.
        self.clock: LeaseClock | None = None
        #: Whether a channel has it, and a stand-in for that channel.
        self.attached = True
        self._holder: object = None
        self._next_number = 1
        self._identity = threading.Lock()
        self.restorer = Restorer(options.keys, options.lists)
        self.keeper = Keeper(self, wire)

    # -- messages -------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of messages held."""
        return len(self.held) + len(self.orphans)

    @property
    def needed(self) -> bool:
        """Whether there is anything left to hold or to do."""
        return bool(self.held or self.orphans or self.acks or self.parks or self.returns)

    def message(self, tag: str) -> Any:
        """Return a held message, None if it is not held."""
        orphan = self.orphans.get(tag)
        return self.held.get(tag) if orphan is None else orphan()

    def acknowledge(self, tag: str) -> bool:
        """Stop holding a message, and have it acknowledged. Returns False if it is not held.

        Logs a warning if it was given to others.
        """
        if tag in self.held or tag in self.orphans:
            # In this order: it is always in one of them, for the other thread to see.
            self.acks.append(tag)
            if self.held.pop(tag, _ABSENT) is _ABSENT:
                self.orphans.pop(tag, None)
            return True
        return self.settle(tag)

    def settle(self, tag: str) -> bool:
        """Stop holding a message. Returns False if it is not held.

        Logs a warning if it was given to others.
        """
        if tag in self.held:
            del self.held[tag]
            return True
        if self.orphans.pop(tag, None) is not None:
            return True
        if tag in self.lost:
            self.lost.discard(tag)
            logger.warning(W_LOST_ACK, tag)
        return False

    def settled(self, tags: Iterable[str], lost: Iterable[str] = ()) -> None:
        """Take note that the server has settled messages.

        - lost: those of them that were not ours any more.
        """
        lost = frozenset(lost) - self.unsure
        for tag in lost:
            logger.warning(W_LOST_ACK, tag)
        if lost:
            self.lost_news.append(lost)
        if self.unsure:
            self.unsure.difference_update(tags)

    def rewritten(self, lost: Iterable[str]) -> None:
        """Take note that the server has rewritten messages.

        - lost: the tags of those that were not ours any more.
        """
        for tag in lost:
            self.held.pop(tag, None)
            self.orphans.pop(tag, None)
        self.settled((), lost)

    def take_numbers(self, count: int) -> int:
        """Return the first of so many numbers that no claim has had."""
        first = self._next_number
        self._next_number += count
        return first

    def take_acks(self, limit: int) -> list[str]:
        """Return acknowledged tags that are going to be sent now."""
        taken = self.acks[:limit]
        del self.acks[: len(taken)]
        return taken

    def take_parks(self, limit: int) -> dict[str, Parking]:
        """Return messages that are going to be parked now."""
        return {tag: self.parks.pop(tag) for tag in list(self.parks)[:limit]}

    def take_rewrites(self, limit: int) -> dict[str, bytes]:
        """Return entries that are going to be put in the place of held messages now."""
        return {tag: self.rewrites.pop(tag) for tag in list(self.rewrites)[:limit]}

    def take_back(self, call: Call) -> None:
        """Send again what a call took along: it is not known whether the server has got it."""
        self.unsure.update(call.acks)
        self.acks[:0] = call.acks
        if call.parks:
            self.unsure.update(call.parks)
            self.parks.update(call.parks)
        for tag, entry in (call.rewrites or {}).items():
            if tag in self.held or tag in self.orphans:
                self.rewrites[tag] = entry

    def return_later(self, *returns: Return) -> None:
        """Have the keeper put messages back."""
        self.returns += returns
        self.keeper.wake()

    def return_claim(self, first: int, count: int) -> None:
        """Have the keeper put back what a claim took whose reply was lost.

        - first, count: the numbers of the claim.
        """
        tags = [f"{self.owner}:{number}" for number in range(first, first + count)]
        self.return_later(Return(tags, redelivered=False, checks=GHOST_CHECKS))

    # -- life -----------------------------------------------------------------

    def fence(self, owner: str) -> None:
        """Go on under a new name: the old one was declared dead, and what it held is lost.

        - owner: the name that was declared dead.
        """
        with self._identity:
            if self.owner != owner:
                return  # the other thread was faster
            self.owner = _new_owner()
        self.rewrites.clear()
        acks, held, orphans = self.acks.copy(), self.held.copy(), self.orphans.copy()
        if self.clock is not None:
            self.clock.lost()
        lost = frozenset([*orphans, *(tag for tag in held if held[tag] is not None)])
        self.lost |= lost
        # Acknowledged, but not in time: what begins after its acknowledgement must not begin.
        lost = lost.union(acks) - self.unsure
        for tag in (*held, *orphans):
            self.held.pop(tag, None)
            self.orphans.pop(tag, None)
        logger.warning(W_FENCED, self.options.seconds, len(lost))
        if lost:
            self.lost_news.append(lost)
        self.keeper.wake()  # it registers the new name

    def attach(self, channel: Any) -> None:
        """Belong to a channel, and end with it."""
        self._holder = holder = object()
        weakref.finalize(channel, self._lapse, holder).atexit = False

    def _lapse(self, holder: object) -> None:
        """End without a word: the channel was forgotten rather than closed.

        Others put back what is held, as after a crash.
        """
        if self.attached and self._holder is holder:
            self.keeper.stop(wait=False)

    def detach(self) -> None:
        """Leave the lease to the next channel: the connection broke and this channel is closed."""
        undelivered = []
        for tag, message in list(self.held.items()):
            if message is None:
                undelivered.append(tag)
            else:
                self.orphans[tag] = weakref.ref(message)
        self.held.clear()
        self.attached = False
        detached.leave(self)
        self.return_later(Return(undelivered, redelivered=False, checks=GHOST_CHECKS))

    def give_back(self, wire: Wire) -> None:
        """Settle what is settled, and put back everything else that is held.

        - wire: a connection that nobody else waits on.
        """
        self.keeper.send_settled(wire)
        held, orphans = self.held.copy(), list(self.orphans)
        undelivered = [tag for tag, message in held.items() if message is None]
        delivered = [tag for tag, message in held.items() if message is not None]
        self.restorer.restore(wire, undelivered, redelivered=False)
        self.restorer.restore(wire, [*orphans, *delivered])
        self.lost.update(held, orphans)
        self.held.clear()
        self.orphans.clear()

    def release_orphans(self, wire: Wire) -> None:
        """Put back messages from before a break that nobody in this process refers to any more."""
        gone = [tag for tag, message in self.orphans.copy().items() if message() is None]
        if gone:
            self.restorer.restore(wire, gone)
            for tag in gone:
                self.orphans.pop(tag, None)

    def make_returns(self, wire: Wire) -> None:
        """Put back what could not be put back before."""
        for each in list(self.returns):
            tags = [tag for tag in each.tags if tag not in self.held]
            self.restorer.restore(wire, tags, redelivered=each.redelivered, next_up=each.next_up)
            each.checks -= 1
            if each.checks <= 0:
                self.returns.remove(each)

    def parking(self, message: Any, due: float) -> Parking:
        """Return how to park a held message until a monotonic time."""
        priority = message.properties.get("priority")
        return Parking(
            due,
            self.options.lists.of_priority(message.queue, priority),
            len(entry_ending(message.queue)),
        )


def _new_owner() -> str:
    return f"tq.{secrets.token_hex(8)}"
