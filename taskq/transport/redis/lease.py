"""The lease: which messages this process holds, and the thread that keeps them ours.

A consuming channel has one. It outlives the channel's connection: after a break the next channel
takes it over, with the messages that are still being worked on and the acknowledgements that the
server may not have seen.
"""

from __future__ import annotations

import atexit
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis.keys import Keys, ListNames
from taskq.transport.redis.resp import pack
from taskq.transport.redis.restore import Restorer
from taskq.transport.redis.scripts import script
from taskq.transport.redis.wire import Wire

logger = get_logger(__name__)

#: Heartbeats per lease.
BEATS = 5
#: Part of the lease that an owner may be silent. The rest of it is for noticing and restoring.
SILENCE = 0.75
#: Seconds between two tries to reach a server that does not answer.
RETRY = 1.0
#: Seconds after which others may take over the recovery of a dead owner's messages.
RECOVERY_TIME = 10
#: Seconds the fence of a dead owner is kept: longer than any recovery takes.
FENCE_TTL = 86_400
#: Seconds that a fork waits for a heartbeat under way.
FORK_PATIENCE = 0.5
#: Parked messages moved back to their lists per heartbeat.
UNPARK_BATCH = 500
#: Tags per call: a Lua script can unpack a few thousand values.
TAG_BATCH = 1000
#: How often a claim whose reply was lost is looked for: it may be executed late.
GHOST_CHECKS = 3

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


@dataclass(slots=True)
class _Ghost:
    """A claim whose reply was lost: the numbers it may have given to messages."""

    first: int
    count: int
    checks: int = GHOST_CHECKS


class Lease:
    """The messages one consuming channel holds, kept by a thread with a connection of its own.

    1. `register` makes the owner known before its first claim; `start` starts the thread.
    2. Claims add to `held`, acknowledgements go to `acks` until a call has taken them along.
    3. The thread beats: it renews owner and messages, recovers what dead owners held, unparks.
    4. `close` gives everything back. After a break `detach` leaves the lease to the next channel,
       which finds it with `adopt`; until then the thread sends the acknowledgements itself.
    """

    def __init__(self, options: LeaseOptions, wire: Wire) -> None:
        self.options = options
        self.owner = _new_owner()
        #: Held messages by tag, in the order of their claims; None until delivered.
        self.held: dict[str, Any] = {}
        #: Messages held since before a break, as weak references: one that is gone can't be
        #: settled by anybody any more.
        self.orphans: dict[str, weakref.ref[Any]] = {}
        #: Acknowledged tags that no call has taken along yet.
        self.acks: list[str] = []
        #: Messages to park: tag -> (monotonic due time, list, length of the entry's end).
        self.parks: dict[str, tuple[float, str, int]] = {}
        #: The number of the next claim.
        self.next_number = 1
        #: Tags that were given to others.
        self.lost: set[str] = set()
        #: Settled tags that the server may know of already, because a reply was lost.
        self.unsure: set[str] = set()
        #: Queues consumed; the next channel must consume one of them to take over.
        self.queues: set[str] = set()
        self.restorer = Restorer(options.keys, options.lists)
        self._wire = wire
        self._ghosts: list[_Ghost] = []
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._attached = True
        #: Stands for the channel that has the lease.
        self._holder: object = None
        self._identity = threading.Lock()
        #: Held while the thread uses the network.
        self._network = threading.RLock()
        self._wakeup = threading.Event()
        #: Monotonic time of the last heartbeat the server confirmed, 0 before the first.
        self._confirmed = 0.0
        #: Monotonic time before which silent owners are not judged: they may be reconnecting.
        self._judge_after = 0.0
        self._swept = 0.0
        self._unpark_at = float("inf")
        self._on_lost: Callable[[frozenset[str]], None] | None = None
        _leases.add(self)

    # -- what the channel does with it ----------------------------------------

    @property
    def count(self) -> int:
        """Number of messages held."""
        return len(self.held) + len(self.orphans)

    @property
    def silence(self) -> float:
        """Seconds of silence after which others declare this owner dead."""
        return self.options.seconds * SILENCE

    @property
    def interval(self) -> float:
        """Seconds between two heartbeats."""
        return min(self.options.seconds / BEATS, self.options.visibility_timeout / 4)

    @property
    def doubtful(self) -> bool:
        """Tell whether so much time has passed since a heartbeat that we may be declared dead."""
        return bool(self._confirmed) and time.monotonic() - self._confirmed > self.silence

    def register(self, wire: Wire, *, server_uptime: float | None = None) -> None:
        """Make the owner known to the server.

        - wire: the claiming connection.
        - server_uptime: seconds; owners get time to come back to a server that just started.
        """
        now = time.monotonic()
        just_started = server_uptime is not None and server_uptime < self.options.seconds
        if just_started or self._confirmed:
            # Others were cut off as well, and need time to come back.
            self._judge_after = now + self.silence
        self._beat(wire, judge=False)

    def start(self, on_lost: Callable[[frozenset[str]], None]) -> None:
        """Start the thread, if it does not run.

        - on_lost: called in that thread with the tags that were given to others.
        """
        self._on_lost = on_lost
        if self._thread is None:
            self._wakeup.set()  # a first look at once: somebody's messages may be waiting
            self._thread = threading.Thread(
                target=self._run, name=f"taskq-lease-{self.owner}", daemon=True
            )
            self._thread.start()

    def settle(self, tag: str) -> bool:
        """Stop holding a message. Returns False when it was given to others, or is not held."""
        if tag in self.held:
            del self.held[tag]
        elif self.orphans.pop(tag, None) is None:
            return False
        return tag not in self.lost

    def message(self, tag: str) -> Any:
        """Return a held message, None if it is not held."""
        orphan = self.orphans.get(tag)
        return self.held.get(tag) if orphan is None else orphan()

    def report_lost(self, tags: Iterable[str]) -> None:
        """Take note of acknowledgements that came too late."""
        for tag in tags:
            if tag in self.unsure:
                self.unsure.discard(tag)
            else:
                logger.warning(W_LOST_ACK, tag)

    def wake_by(self, due: float) -> None:
        """Have the thread look at parked messages at this monotonic time at the latest."""
        if due < self._unpark_at:
            self._unpark_at = due
            self._wakeup.set()

    def add_ghost(self, first: int, count: int) -> None:
        """Look for messages that a claim took whose reply was lost, and put them back.

        - first, count: the numbers of the claim.
        """
        self._ghosts.append(_Ghost(first, count))
        self._wakeup.set()

    def verify(self, wire: Wire) -> None:
        """Ask the server whether we are still alive; go on under a new name if not.

        - wire: a connection that nobody else waits on.
        """
        self._beat(wire, judge=False)

    def fence(self, owner: str) -> None:
        """Go on under a new name: the old one was declared dead, and what it held is lost.

        - owner: the name that was declared dead.
        """
        with self._identity:
            if self.owner != owner:
                return  # the other thread was faster
            self.owner = _new_owner()
        tags = frozenset(tag for tag in (*self.held.copy(), *self.orphans.copy()))
        self.lost |= tags
        self._wakeup.set()  # the thread registers the new name
        logger.warning(W_FENCED, self.options.seconds, len(tags))
        if tags and self._on_lost is not None:
            self._on_lost(tags)

    def close(self, wire: Wire) -> None:
        """Give back what is held and sign off. Buffered acknowledgements are sent before.

        - wire: a connection that nobody else waits on.
        """
        self._stop()
        self._give_back(wire)
        wire.call(pack("ZREM", self.options.keys.owners, self.owner))

    def _give_back(self, wire: Wire) -> None:
        self._send_settled(wire)
        undelivered = [tag for tag, message in self.held.items() if message is None]
        delivered = [tag for tag, message in self.held.items() if message is not None]
        self.restorer.restore(wire, undelivered, redelivered=False)
        self.restorer.restore(wire, [*self.orphans, *delivered])
        self.lost.update(self.held, self.orphans)
        self.held.clear()
        self.orphans.clear()

    def detach(self) -> None:
        """Leave the lease to the next channel: the connection broke and this channel is closed."""
        for tag, message in list(self.held.items()):
            if message is None:
                self._ghosts.append(_Ghost(_number(tag), 1))
            else:
                self.orphans[tag] = weakref.ref(message)
        self.held.clear()
        self._attached = False
        with _detached_lock:
            _detached.append(self)
        self._wakeup.set()

    def attach(self, channel: Any) -> None:
        """Belong to a channel, and end with it."""
        self._holder = holder = object()
        weakref.finalize(channel, self._lapse, holder).atexit = False

    def _lapse(self, holder: object) -> None:
        """Stop without a word: the channel was forgotten rather than closed.

        Others put back what is held, as after a crash.
        """
        if self._attached and self._holder is holder:
            self._stopped = True
            self._wakeup.set()

    # -- the thread -----------------------------------------------------------

    def _stop(self) -> None:
        self._stopped = True
        self._wakeup.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(RETRY)

    def _run(self) -> None:
        pause = interval = self.interval
        while True:
            self._wakeup.wait(max(0.0, min(pause, self._unpark_at - time.monotonic())))
            self._wakeup.clear()
            if self._stopped:
                break
            try:
                with self._network:
                    self._wire.reopen_if_closed()
                    self._maintain()
                pause = interval
            except (exceptions.RedisError, OSError) as exc:
                # The channel meets the same error and says so; here it is tried again.
                logger.debug("Heartbeat failed: %r", exc)
                self._wire.close()
                pause = min(RETRY, interval)
                self._unpark_at = float("inf")
            except Exception:
                logger.exception("Error in the heartbeat of %s", self.owner)
                self._wire.close()
                pause = interval
            if not self._attached and not self._needed() and self._retire():
                break
        self._wire.close()

    def _maintain(self) -> None:
        wire = self._wire
        self._beat(wire, judge=True)
        self._recover_ghosts(wire)
        if not self._attached:
            self._send_settled(wire)
        self._release_orphans(wire)
        if time.monotonic() - self._swept >= self.options.restore_interval:
            self._swept = time.monotonic()
            self._restore_expired(wire)

    def _beat(self, wire: Wire, *, judge: bool) -> None:
        """Tell the server that we are alive; do the housekeeping it says is ours."""
        keys, now = self.options.keys, time.monotonic()
        if self._confirmed and now - self._confirmed > 2 * self.interval:
            # Suspended or cut off: what looks like silence of others may be our own deafness.
            self._judge_after = max(self._judge_after, now + self.silence)
        silence = f"{self.silence if judge and now >= self._judge_after else 0:.3f}"
        owner = self.owner
        tags = [tag for tag in (*self.held.copy(), *self.orphans.copy()) if tag not in self.lost]
        for start in range(0, max(1, len(tags)), TAG_BATCH):
            reply = script("beat").call(
                wire,
                [
                    keys.owners,
                    keys.dead_owners,
                    keys.fence + owner,
                    keys.unacked_index,
                    keys.parked,
                    keys.parked_messages,
                ],
                [
                    owner,
                    silence if start == 0 else 0,
                    int(time.time()),
                    RECOVERY_TIME,
                    keys.fence,
                    FENCE_TTL,
                    UNPARK_BATCH,
                    *tags[start : start + TAG_BATCH],
                ],
            )
            alive, until_due, *dead_owners = reply
            if not alive:
                self.fence(owner)
                self._beat(wire, judge=False)
                return
            self._confirmed = now
            self._unpark_at = time.monotonic() + until_due / 1000 if until_due >= 0 else _NEVER
            for dead in dead_owners:
                self._recover(wire, dead.decode())

    def _recover(self, wire: Wire, owner: str) -> None:
        """Put back what a dead owner held."""
        restored, cursor = 0, b"0"
        while True:
            cursor, found = wire.call(
                pack(
                    "ZSCAN", self.options.keys.unacked_index, cursor,
                    "MATCH", f"{owner}:*", "COUNT", TAG_BATCH,
                )
            )  # fmt: skip
            tags = sorted((tag.decode() for tag in found[::2]), key=_number)
            restored += self.restorer.restore(wire, tags)
            if cursor == b"0":
                break
        wire.call(pack("ZREM", self.options.keys.dead_owners, owner))
        logger.warning(
            "Worker %s has been silent for %g s: %d messages it held are back in their queues.",
            owner, self.silence, restored,
        )  # fmt: skip

    def _recover_ghosts(self, wire: Wire) -> None:
        for ghost in list(self._ghosts):
            tags = [f"{self.owner}:{ghost.first + i}" for i in range(ghost.count)]
            self.restorer.restore(
                wire, [tag for tag in tags if tag not in self.held], redelivered=False
            )
            ghost.checks -= 1
            if ghost.checks <= 0:
                self._ghosts.remove(ghost)

    def _release_orphans(self, wire: Wire) -> None:
        """Put back messages from before a break that nobody in this process refers to any more."""
        gone = [tag for tag, message in self.orphans.copy().items() if message() is None]
        gone = [tag for tag in gone if tag not in self.lost and tag not in self.acks]
        if gone:
            self.restorer.restore(wire, gone)
            for tag in gone:
                self.orphans.pop(tag, None)

    def _send_settled(self, wire: Wire) -> None:
        """Send acknowledgements and parkings that no claim will take along."""
        while self.acks:
            tags = self.acks[:TAG_BATCH]
            self.unsure.update(tags)
            script("claim").call(wire, *self.claim_arguments(tags))
            del self.acks[: len(tags)]
            self.unsure.difference_update(tags)
        while self.parks:
            batch = list(self.parks)[:TAG_BATCH]
            script("park").call(wire, *self.park_arguments(batch))
            for tag in batch:
                self.parks.pop(tag, None)

    def claim_arguments(self, acks: Collection[str]) -> tuple[list[str], list[str | int]]:
        """Return keys and arguments of a claim that acknowledges and takes nothing."""
        keys = self.options.keys
        return (
            [keys.fence + self.owner],
            [
                keys.unacked,
                keys.unacked_index,
                self.owner,
                int(time.time()),
                0,
                0,
                len(acks),
                *acks,
            ],
        )

    def park_arguments(self, tags: Iterable[str]) -> tuple[list[str], list[str | int]]:
        """Return keys and arguments of the call that parks these of the messages in `parks`."""
        keys, now = self.options.keys, time.monotonic()
        arguments: list[str | int] = []
        for tag in tags:
            due, queue_list, ending = self.parks[tag]
            arguments += [tag, f"{due - now:.6f}", queue_list, ending]
        return [keys.unacked, keys.unacked_index, keys.parked, keys.parked_messages], arguments

    def _restore_expired(self, wire: Wire) -> None:
        """Put back what kombu processes left unacknowledged for the visibility timeout.

        As kombu does it: only one process at a time, by a mutex.
        """
        keys, options = self.options.keys, self.options
        limit = f"{time.time() - options.visibility_timeout:.6f}"
        command = pack(
            "ZRANGEBYSCORE", keys.unacked_index, "-inf", limit,
            "LIMIT", 0, options.restore_limit or TAG_BATCH,
        )  # fmt: skip
        if not wire.call(command):
            return
        token = secrets.token_hex(8)
        if not wire.call(pack("SET", keys.unacked_mutex, token, "NX", "EX", options.mutex_ttl)):
            return
        try:
            self.restorer.restore(wire, [tag.decode() for tag in wire.call(command)])
        finally:
            if wire.connected and wire.call(pack("GET", keys.unacked_mutex)) == token.encode():
                wire.call(pack("DEL", keys.unacked_mutex))

    def _needed(self) -> bool:
        return bool(self.held or self.orphans or self.acks or self.parks or self._ghosts)

    def _retire(self) -> bool:
        """End a detached lease that holds nothing; False if a channel has just taken it over."""
        with _detached_lock:
            if self._attached:
                return False
            _detached.remove(self)
        try:
            self._wire.reopen_if_closed()
            self._wire.call(pack("ZREM", self.options.keys.owners, self.owner))
        except (exceptions.RedisError, OSError) as exc:
            logger.debug("Owner %s could not sign off: %r", self.owner, exc)
        return True


_NEVER = float("inf")
_detached: list[Lease] = []
_detached_lock = threading.Lock()
_leases: weakref.WeakSet[Lease] = weakref.WeakSet()
_paused: list[Lease] = []


def adopt(options: LeaseOptions, queues: Collection[str]) -> Lease | None:
    """Return the lease that a channel for one of these queues left behind when it broke."""
    with _detached_lock:
        for lease in _detached:
            if lease.options == options and not lease.queues.isdisjoint(queues):
                _detached.remove(lease)
                lease._attached = True
                return lease
    return None


def _give_back_at_exit() -> None:
    """Put back what channels hold that nobody closed; a claim under way is for others to find."""
    for lease in list(_leases):
        if lease._stopped or not lease._needed():
            continue
        try:
            lease._stop()
            lease._wire.reopen_if_closed()
            lease._give_back(lease._wire)
        except (exceptions.RedisError, OSError) as exc:
            logger.debug("Could not give back messages at exit: %r", exc)


atexit.register(_give_back_at_exit)


def _before_fork() -> None:
    """Let no thread be in the middle of a name lookup, whose locks the child would inherit."""
    _paused[:] = [lease for lease in list(_leases) if lease._network.acquire(timeout=FORK_PATIENCE)]


def _after_fork_in_parent() -> None:
    for lease in _paused:
        lease._network.release()
    _paused.clear()


def _after_fork_in_child() -> None:
    global _detached_lock
    _detached_lock = threading.Lock()
    for leases in (_detached, _paused, _leases):  # they are the parent's
        leases.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


def _new_owner() -> str:
    return f"tq.{secrets.token_hex(8)}"


def _number(tag: str) -> int:
    return int(tag.rpartition(":")[2])
