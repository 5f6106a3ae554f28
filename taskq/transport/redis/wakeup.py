"""When to look for messages: at once where the server says that a list changed, else by polling.

With CLIENT TRACKING the server remembers which lists a claim found empty, and sends one message
when any of them is written to. Nothing is popped while waiting, and nothing can be missed, because
reply and message come on one connection, in order.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis.resp import Push, pack
from taskq.transport.redis.wire import Wire

logger = get_logger(__name__)

#: Seconds between two looks at all lists, just in case, when the server tells of changes.
SAFETY_LOOK = 5.0
#: Seconds between two looks when it doesn't: after a message, and when nothing comes.
BUSY_POLL, IDLE_POLL, POLL_GROWTH = 0.005, 0.25, 1.3
#: Seconds until the next look after the server refused a claim.
REST = 5.0
#: Looks in vain, because other workers were faster, after which the next ones are put off, and the
#: longest time in seconds they are put off.
PATIENT_AFTER, LONGEST_PAUSE = 3, 0.02

I_POLLING = "%s does not tell of new messages (CLIENT TRACKING: %s); looking for them every %g s."


class Wakeup:
    """Knows which lists may have messages.

    Attributes:
        tracking: the server tells of changes.
        dirty: names of the lists that may have messages.
        plenty: the last claim found as many messages as it wanted.
    """

    def __init__(self) -> None:
        self.tracking = False
        self.dirty: set[str] = set()
        self.plenty = False
        self._watched: frozenset[str] = frozenset()
        self._urgent: frozenset[str] = frozenset()
        self._next_look = 0.0
        self._not_before = 0.0
        self._poll = BUSY_POLL
        self._vain_looks = 0

    def look(self) -> None:
        """Look at all lists."""
        self.dirty = set(self._watched)
        self._not_before = 0.0

    def watch(self, lists: Iterable[str], urgent: Iterable[str] = ()) -> None:
        """Look at these lists from now on.

        - urgent: those of the first priority step.
        """
        self._watched = frozenset(lists)
        self._urgent = frozenset(urgent)
        self.look()

    def start(self, wire: Wire) -> None:
        """Ask the server, on a new connection, to tell of changes."""
        self.look()
        try:
            # RESP3 brings invalidations on the connection that reads the lists.
            wire.call(pack("HELLO", "3"))
            wire.call(pack("CLIENT", "TRACKING", "ON", "NOLOOP"))
            self.tracking = True
        except exceptions.ResponseError as exc:
            self.tracking = False
            logger.info(I_POLLING, wire.url, exc, IDLE_POLL)

    @property
    def may_have_messages(self) -> bool:
        """Tell whether it is time to claim."""
        now = time.monotonic()
        if now >= self._next_look:
            self.dirty |= self._watched
        return bool(self.dirty) and now >= self._not_before

    @property
    def urgent(self) -> bool:
        """Tell whether a list of the first priority step may have messages."""
        return not self.dirty.isdisjoint(self._urgent)

    @property
    def timeout(self) -> float:
        """Seconds until it is time to claim, if the server tells nothing before.

        Infinite if it is time already: then there is no room for messages, or a claim is under way.
        """
        now = time.monotonic()
        due = self._not_before if self.dirty else self._next_look
        return due - now if due > now else math.inf

    @property
    def impatient(self) -> bool:
        """Tell whether a turn of the loop is needed after `timeout`, with no word of the server."""
        return bool(self.dirty and self._not_before > time.monotonic()) or (
            not self.tracking and not self.dirty
        )

    def on_push(self, message: Push) -> None:
        """Take in an invalidation: names of keys, or nothing when the server was emptied."""
        if not message or message[0] != b"invalidate":
            return
        if message[1] is None:
            self.look()
        else:
            names = {name.decode(errors="replace") for name in message[1]}
            self.dirty |= self._watched & names

    def on_claimed(self, empty: Iterable[str], found: int, *, plenty: bool = False) -> None:
        """Take in what a claim has found: lists that are empty now, and a number of messages.

        - plenty: as many as it wanted.
        """
        self.plenty = plenty
        self.dirty.difference_update(empty)
        now = time.monotonic()
        if found:
            self._poll = BUSY_POLL
            self._vain_looks = 0
        else:
            self._poll = min(self._poll * POLL_GROWTH, IDLE_POLL)
            self._vain_looks += 1
        if not self.tracking:
            self._next_look = now + self._poll
            return
        if now >= self._next_look:
            self._vain_looks = 0  # it was our own idea to look
        self._next_look = now + SAFETY_LOOK
        if self._vain_looks > PATIENT_AFTER:
            # A herd of idle workers: let some of them look later, when one has taken it.
            self._not_before = now + random.uniform(0, LONGEST_PAUSE)

    def rest(self) -> None:
        """Wait a while: the server has refused a claim."""
        self._not_before = time.monotonic() + REST
