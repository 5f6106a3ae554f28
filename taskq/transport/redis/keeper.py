"""The keeper: a thread that says that this process lives, and looks after what others left.

A thread, because the loop may stand still for longer than a lease lasts: in a task of the solo
pool, in a callback of a user's consumer.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis import calls, detached
from taskq.transport.redis.resp import pack
from taskq.transport.redis.scripts import script
from taskq.transport.redis.wire import Wire

if TYPE_CHECKING:
    from taskq.transport.redis.lease import Lease

logger = get_logger(__name__)

#: Heartbeats per lease.
BEATS = 5
#: Part of the time that an owner may be silent which one that holds nothing lets pass: an idle
#: worker is to be left asleep. It looks after others no later for that, as it knows when they can
#: be dead.
REST = 0.6
#: Part of the lease that an owner may be silent. The rest of it is for noticing and restoring.
SILENCE = 2 / 3
#: Seconds between two tries to reach a server that does not answer.
RETRY = 1.0
#: Seconds after which others may take over the recovery of a dead owner's messages. Two at the same
#: time do no harm: each message is put back by the one that takes it out of `unacked`.
RECOVERY_TIME = 3
#: Seconds the fence of a dead owner is kept: longer than any recovery takes.
FENCE_TTL = 86_400
#: Parked messages moved back to their lists per heartbeat.
UNPARK_BATCH = 500
#: Tags per call: a Lua script can unpack a few thousand values.
TAG_BATCH = 1000

_NEVER = float("inf")


class Keeper:
    """Keeps one lease, on a connection of its own.

    - lease: what to keep.
    - wire: the thread's connection.

    Each heartbeat renews the owner and the messages it holds, so that neither other workers nor
    kombu's visibility timeout redeliver them; moves parked messages that are due; and recovers
    what owners held that are silent for too long.
    """

    def __init__(self, lease: Lease, wire: Wire) -> None:
        self.wire = wire
        #: Monotonic time of the last heartbeat the server confirmed, 0 before the first.
        self.confirmed = 0.0
        self.stopped = False
        #: Held while the thread uses the network.
        self.network = threading.RLock()
        self._lease = lease
        self._options = lease.options
        self._thread: threading.Thread | None = None
        self._wakeup = threading.Event()
        #: Monotonic time before which silent owners are not judged: they may be reconnecting.
        self._judge_after = 0.0
        self._swept = 0.0
        self._unpark_at = _NEVER
        #: Monotonic time at which another owner can be dead at the earliest.
        self._judge_at = 0.0
        #: Seconds until the next heartbeat, when the thread sleeps.
        self._pause = self.interval
        #: Whether that is longer than for an owner that holds messages.
        self._resting = False
        #: Whether any messages came since the last heartbeat.
        self._busy = False

    @property
    def interval(self) -> float:
        """Seconds between two heartbeats."""
        return min(self._options.seconds / BEATS, self._options.visibility_timeout / 4)

    @property
    def silence(self) -> float:
        """Seconds of silence after which an owner is dead."""
        return self._options.seconds * SILENCE

    @property
    def doubtful(self) -> bool:
        """Whether so much time has passed since a heartbeat that we may be declared dead."""
        return bool(self.confirmed) and time.monotonic() - self.confirmed > self.silence

    # -- what the channel does with it --------------------------------------------

    def register(self, wire: Wire, *, server_uptime: float | None = None) -> None:
        """Make the owner known to the server, before its first claim.

        - wire: a connection that nobody else waits on.
        - server_uptime: seconds; owners get time to come back to a server that just started.
        """
        just_started = server_uptime is not None and server_uptime < self._options.seconds
        if just_started or self.confirmed:
            # Others were cut off as well, and need time to come back.
            self._judge_after = time.monotonic() + self.silence
        self._beat(wire, judge=False)

    def verify(self, wire: Wire) -> None:
        """Ask the server whether we are still alive; go on under a new name if not.

        - wire: a connection that nobody else waits on.
        """
        self._beat(wire, judge=False)

    def start(self) -> None:
        """Start the thread, if it does not run."""
        if self._thread is None:
            detached.remember(self._lease)
            self._wakeup.set()  # a first look at once: somebody's messages may be waiting
            self._thread = threading.Thread(
                target=self._run, name=f"taskq-lease-{self._lease.owner}", daemon=True
            )
            self._thread.start()

    def wake(self) -> None:
        """Have the thread look at what there is to do now."""
        self._wakeup.set()

    def on_held(self) -> None:
        """Messages are held now: beat as often as that needs."""
        self._busy = True
        if self._resting:
            self._resting = False
            self._wakeup.set()

    def wake_by(self, due: float) -> None:
        """Have the thread look at parked messages at this monotonic time at the latest."""
        if due < self._unpark_at:
            self._unpark_at = due
            self._wakeup.set()

    def stop(self, *, wait: bool) -> None:
        """End the thread.

        - wait: until it has ended, or a second.
        """
        self.stopped = True
        self._wakeup.set()
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join(RETRY)

    def sign_off(self, wire: Wire) -> None:
        """Tell the server that the owner is gone, and holds nothing."""
        wire.call(pack("ZREM", self._options.keys.owners, self._lease.owner))

    def send_settled(self, wire: Wire) -> None:
        """Send acknowledgements and the like that no claim will take along."""
        lease, keys = self._lease, self._options.keys
        places = calls.claim_places(keys.unacked, keys.unacked_index)
        while lease.rewrites or lease.acks or lease.parks:
            if lease.rewrites:
                call = calls.rewrite(lease)
            else:
                call = calls.claim(lease, places) if lease.acks else calls.park(lease)
            try:
                call.script.run(wire, call.pack)
            except BaseException:
                lease.take_back(call)
                raise
            # Who came too late is not told: a first try may have done it.
            lease.settled(call.acks)

    # -- the thread -----------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._wakeup.wait(max(0.0, min(self._pause, self._unpark_at - time.monotonic())))
            self._wakeup.clear()
            if self.stopped:
                break
            self._pause = self._turn()
            self._resting = self._pause > self.interval
            lease = self._lease
            if not lease.attached and not lease.needed and detached.retire(lease):
                self._try_to_sign_off()
                break
        self.wire.close()

    def _turn(self) -> float:
        """Do what there is to do; return the seconds until the next turn."""
        try:
            with self.network:
                self.wire.reopen_if_closed()
                self._maintain(self.wire)
        except (exceptions.RedisError, OSError) as exc:
            # The channel meets the same error and says so; here it is tried again.
            logger.debug("Heartbeat failed: %r", exc)
            self.wire.close()
            self._unpark_at = _NEVER
            return min(RETRY, self.interval)
        except Exception:
            logger.exception("Error in the heartbeat of %s", self._lease.owner)
            self.wire.close()
        return self._time_to_rest()

    def _time_to_rest(self) -> float:
        lease, interval = self._lease, self.interval
        busy, self._busy = self._busy, False
        if busy or not lease.attached or lease.held or lease.orphans:
            return interval
        return max(interval, min(self.silence * REST, self._judge_at - time.monotonic()))

    def _maintain(self, wire: Wire) -> None:
        lease = self._lease
        self._beat(wire, judge=True)
        lease.make_returns(wire)
        if not lease.attached:
            self.send_settled(wire)
        lease.release_orphans(wire)
        if time.monotonic() - self._swept >= self._options.restore_interval:
            self._swept = time.monotonic()
            self._restore_expired(wire)

    def _try_to_sign_off(self) -> None:
        try:
            self.wire.reopen_if_closed()
            self.sign_off(self.wire)
        except (exceptions.RedisError, OSError) as exc:
            logger.debug("Owner %s could not sign off: %r", self._lease.owner, exc)

    # -- heartbeats -------------------------------------------------------------------

    def _beat(self, wire: Wire, *, judge: bool) -> None:
        """Tell the server that we are alive; do the housekeeping it says is ours."""
        lease, now = self._lease, time.monotonic()
        if self.confirmed and now - self.confirmed > self._pause + self.interval:
            # Suspended or cut off: what looks like silence of others may be our own deafness.
            self._judge_after = max(self._judge_after, now + self.silence)
        silence = self.silence if judge and now >= self._judge_after else 0
        owner = lease.owner
        self._judge_at = 0.0
        tags = [*lease.held.copy(), *lease.orphans.copy()]
        for start in range(0, max(1, len(tags)), TAG_BATCH):
            alive, until_due, until_judged, *dead_owners = self._send_beat(
                wire, owner, silence if start == 0 else 0, tags[start : start + TAG_BATCH]
            )
            if not alive:
                lease.fence(owner)
                self._beat(wire, judge=False)
                return
            self.confirmed = now
            if lease.clock is not None:
                lease.clock.renewed(self.silence, since=now)
            self._unpark_at = time.monotonic() + until_due / 1000 if until_due >= 0 else _NEVER
            if silence and start == 0:
                self._judge_at = now + until_judged / 1000 if until_judged >= 0 else _NEVER
            for dead in dead_owners:
                self._recover(wire, dead.decode())

    def _send_beat(self, wire: Wire, owner: str, silence: float, tags: list[str]) -> list[Any]:
        keys = self._options.keys
        reply: list[Any] = script("beat").call(
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
                f"{silence:.3f}",
                int(time.time()),
                RECOVERY_TIME,
                keys.fence,
                FENCE_TTL,
                UNPARK_BATCH,
                *tags,
            ],
        )
        return reply

    # -- what others left ---------------------------------------------------------------

    def _recover(self, wire: Wire, owner: str) -> None:
        """Put back what a dead owner held."""
        keys = self._options.keys
        restored, cursor = 0, b"0"
        while True:
            cursor, found = wire.call(
                pack("ZSCAN", keys.unacked_index, cursor, "MATCH", f"{owner}:*", "COUNT", TAG_BATCH)
            )
            tags = sorted((tag.decode() for tag in found[::2]), key=_number)
            restored += self._lease.restorer.restore(wire, tags)
            if cursor == b"0":
                break
        wire.call(pack("ZREM", keys.dead_owners, owner))
        logger.warning(
            "Worker %s has been silent for %g s: %d messages it held are back in their queues.",
            owner,
            self.silence,
            restored,
        )

    def _restore_expired(self, wire: Wire) -> None:
        """Put back what kombu processes left unacknowledged for the visibility timeout.

        As kombu does it: only one process at a time, by a mutex.
        """
        keys = self._options.keys
        if not self._expired(wire):
            return
        token = secrets.token_hex(8)
        if not wire.call(
            pack("SET", keys.unacked_mutex, token, "NX", "EX", self._options.mutex_ttl)
        ):
            return
        try:
            self._lease.restorer.restore(wire, self._expired(wire))
        finally:
            if wire.connected and wire.call(pack("GET", keys.unacked_mutex)) == token.encode():
                wire.call(pack("DEL", keys.unacked_mutex))

    def _expired(self, wire: Wire) -> list[str]:
        """Return tags of what was unacknowledged for the visibility timeout, not all if many.

        What living owners hold is not expired, whatever its score: scores are of the clocks of
        those who hold it, which may be wrong, as ours may.
        """
        keys, options = self._options.keys, self._options
        since = int(time.time() - options.visibility_timeout)
        most, offset = options.restore_limit or TAG_BATCH, 0
        living: set[str] | None = None
        while True:
            page = wire.call(
                pack("ZRANGEBYSCORE", keys.unacked_index, "-inf", since, "LIMIT", offset, most)
            )
            if page and living is None:
                living = {owner.decode() for owner in wire.call(pack("ZRANGE", keys.owners, 0, -1))}
            tags = [tag.decode() for tag in page]
            expired = [tag for tag in tags if tag.rpartition(":")[0] not in (living or ())]
            if expired or len(page) < most:
                return expired
            offset += most


def _number(tag: str) -> int:
    return int(tag.rpartition(":")[2])
