"""Claiming: messages come from the queue lists in batches, acknowledgements travel along.

One `Claimer` per channel that consumes or gets from queues. It is driven from outside: `tick` when
something may be to send, `on_readable` when its connection has something to read, `deliver` when
messages have come.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis import calls, checks, detached
from taskq.transport.redis.calls import Call
from taskq.transport.redis.consumers import NO_LISTS, Consumers, Selection, entry_ending
from taskq.transport.redis.lease import Lease, LeaseOptions, Return
from taskq.transport.redis.message import Message
from taskq.transport.redis.resp import ErrorReply, Push, pack
from taskq.transport.redis.scripts import script, unknown_script
from taskq.transport.redis.wakeup import Wakeup
from taskq.transport.redis.wire import Wire, readable
from taskq.utils.jsontext import encode_json

logger = get_logger(__name__)

#: Most lists that a claim looks at when the one before found as many messages as it wanted: the
#: first few of hundreds will do.
LISTS_OF_PLENTY = 16

#: Messages claimed at once when the prefetch count is unlimited, and at most.
UNLIMITED_BATCH, LARGEST_BATCH = 100, 500
#: Seconds without an answer after which a connection counts as dead: one that is half-open is not
#: told from a quiet one by itself. Lists are looked at every few seconds, so there is a question.
ANSWER_LIMIT = 20.0
#: Seconds between two attempts to go on after the connection broke, without telling anybody.
RESUME_INTERVAL = 2.0

#: Seconds for which it is known how often a message was begun again.
STARTS_TTL = 7 * 86_400

CONNECTION_ERRORS = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)


class Claimer:
    """Claims messages for one channel and hands them to its consumers.

    - channel: gives prefetch count, queue order and options.
    - wire: the claiming connection.
    - keeper_wire: the connection of the lease's thread.
    - side_wire: a connection for what is waited for, shared with publishing.
    """

    def __init__(
        self,
        channel: Any,
        options: LeaseOptions,
        *,
        wire: Wire,
        keeper_wire: Wire,
        side_wire: Wire,
    ) -> None:
        self._channel = channel
        self._options = options
        self._keeper_wire = keeper_wire
        self._side_wire = side_wire
        self.wire = wire
        self.wakeup = Wakeup()
        wire.on_push = self.wakeup.on_push
        self.lease: Lease | None = None
        self.consumers = Consumers(options.lists)
        #: Claimed messages not yet handed over: (payload, tag or None, queue).
        self.undelivered: deque[tuple[bytes, str | None, str]] = deque()
        self._places = calls.claim_places(options.keys.unacked, options.keys.unacked_index)
        #: Calls that are not answered yet, the oldest first.
        self._calls: deque[Call] = deque()
        self._claiming = False
        self._ready = False
        self._resumed = 0.0
        #: When something came last, or was asked for while nothing was outstanding.
        self._heard = 0.0

    # -- consumers --------------------------------------------------------------

    def add_consumer(
        self, queue: str, tag: str, callback: Callable[[Message], Any], *, no_ack: bool
    ) -> None:
        """Deliver the messages of a queue to a callback."""
        self.consumers.add(queue, tag, callback, no_ack=no_ack)
        self._watch()

    def remove_consumer(self, queue: str, tag: str) -> None:
        """Stop delivering to a callback; messages of a queue without any are given back."""
        if queue in self.consumers:
            self.consumers.remove(queue, tag)
            self._watch()

    def _watch(self) -> None:
        self.wakeup.watch(self.consumers.list_names, urgent=self.consumers.urgent_names)
        if self.lease is not None:
            self.lease.queues = self.consumers.queues

    # -- connection ---------------------------------------------------------------

    def connect(self, *, lease: bool = False) -> None:
        """Connect, if not connected, and sign on. Raises one of redis-py's errors.

        - lease: a lease is needed, whatever the consumers.
        """
        needed = lease or self.consumers.acknowledge
        if not self._ready or not self.wire.connected:
            self._note_unanswered()
            self.wire.open()
            uptime = checks.check_server(self.wire)
            # What is written by hash must be executed, not refused, when nobody awaits the reply.
            script("claim").load(self.wire)
            script("park").load(self.wire)
            script("rewrite").load(self.wire)
            self._sign_on(uptime, needed=needed)
            self.wakeup.start(self.wire)
            self._ready = True
        elif needed and self.lease is None:
            self._sign_on(None, needed=True)

    def _sign_on(self, uptime: float | None, *, needed: bool) -> None:
        """Get a lease, if messages are going to be held, and tell the server."""
        if self.lease is None and needed:
            self.lease = detached.adopt(self._options, self.consumers.queues) or Lease(
                self._options, self._keeper_wire
            )
            self.lease.queues = self.consumers.queues
            self.lease.attach(self._channel)
        if self.lease is not None:
            self.lease.clock = self._channel.lease_clock or self.lease.clock
            self._await_replies()
            self.lease.keeper.register(self.wire, server_uptime=uptime)
            self.lease.keeper.start()

    @property
    def sock(self) -> Any:
        """The socket to poll, None when not connected."""
        return self.wire.sock

    @property
    def on_close(self) -> Callable[[], None] | None:
        """What is called before the socket is closed."""
        return self.wire.on_close

    @on_close.setter
    def on_close(self, callback: Callable[[], None] | None) -> None:
        self.wire.on_close = callback

    @property
    def active(self) -> bool:
        """Whether there is anything to do: consumers, or messages to hand over or settle."""
        lease = self.lease
        unsent = lease is not None and (lease.acks or lease.parks or lease.rewrites)
        return bool(self.consumers or self.undelivered or unsent)

    # -- the loop -------------------------------------------------------------------

    def tick(self) -> None:
        """Send what there is to send. Raises connection errors."""
        lease = self.lease
        if lease is not None and lease.lost_news:
            self._tell_lost(lease)
        try:
            if self._calls and time.monotonic() - self._heard > ANSWER_LIMIT:
                self._end_if_silent()
            self._send_pending()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)

    def _end_if_silent(self) -> None:
        """Raise TimeoutError unless an answer is there to be read: we may have been stopped."""
        if self.wire.connected and not readable(self.wire.sock):
            raise exceptions.TimeoutError(
                f"{self.wire.url} did not answer for {ANSWER_LIMIT:g} seconds"
            )

    def _send_pending(self) -> None:
        # A consumer that acknowledges may have come after the connection: nothing may be claimed
        # for it in nobody's name.
        unleased = self.lease is None and self.consumers.acknowledge
        if self.consumers and (unleased or not self.wire.connected):
            self.connect()
        lease = self.lease
        if lease is not None and lease.rewrites:
            self._send_rewrites(lease)
        if not self._claiming:
            wanted = self._wanted()
            if wanted and not self._calls and not self.wakeup.urgent and readable(self.wire.sock):
                self._receive()  # hear of more urgent messages before others are claimed
            if wanted or (lease is not None and lease.acks):
                self._send_claim(wanted)
        if lease is not None and lease.parks:
            self._send_parks(lease)

    def on_readable(self) -> bool:
        """Read what has come; False, because handing it over is up to the caller.

        Raises connection errors.
        """
        try:
            self._receive()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)
        return False

    def flush(self) -> frozenset[str]:
        """Write all buffered acknowledgements and parkings to the connection.

        They are taken along by a claim if there is room. Returns the tags of held messages that
        turned out to be given to others: work on them must not begin. Raises connection errors.
        """
        lease = self.lease
        if lease is None:
            return frozenset()
        try:
            self._flush(lease)
        except CONNECTION_ERRORS as exc:
            self._resume(exc)
            self._flush(lease)
        return self._tell_lost(lease) if lease.lost_news else frozenset()

    def _flush(self, lease: Lease) -> None:
        if lease.keeper.doubtful:
            self.connect()
            self._await_replies()
            lease.keeper.verify(self.wire)
            self.wakeup.look()  # of what came back that way the server doesn't tell us
        self.send_settled()

    def send_settled(self) -> None:
        """Write all buffered acknowledgements and parkings; reads nothing."""
        lease = self.lease
        if lease is None:
            return
        while lease.rewrites:
            self._send_rewrites(lease)
        if lease.acks:
            self._send_claim(0 if self._claiming else self._wanted())
        while lease.acks:
            self._send_claim(0)
        while lease.parks:
            self._send_parks(lease)

    def deliver(self, limit: int | None = None) -> int:
        """Hand claimed messages to their consumers; return how many.

        - limit: at most so many.
        """
        undelivered, callback_of, delivered = self.undelivered, self.consumers.callback, 0
        held = self.lease.held if self.lease is not None else {}
        while undelivered and delivered != limit:
            payload, tag, queue = undelivered.popleft()
            if tag is not None and tag not in held:
                continue  # given to others meanwhile
            callback = callback_of(queue)
            if callback is None:
                self._give_back(payload, tag, queue)
                continue
            message = Message.claimed(self._channel, payload, tag, queue)
            if tag is not None:
                held[tag] = message
            delivered += 1
            callback(message)
        return delivered

    # -- settling -------------------------------------------------------------------

    def ack(self, tag: str) -> bool:
        """Acknowledge a held message with the next call; return whether there is anything to send.

        Logs a warning if it was given to others.
        """
        lease = self.lease
        return lease is not None and lease.acknowledge(tag)

    def release(
        self, tags: Iterable[str], *, redelivered: bool = True, next_up: bool = True
    ) -> None:
        """Put held messages back to their queues, at once; later, if the connection breaks.

        - redelivered: flag them as delivered before.
        - next_up: they are delivered before what waits in the queues, else after it.
        """
        lease = self.lease
        if lease is None:
            return
        kept = [tag for tag in tags if lease.settle(tag)]
        if not kept:
            return
        try:
            with self._side_wire.lock:
                self._side_wire.reopen_if_closed()
                lease.restorer.restore(
                    self._side_wire, kept, redelivered=redelivered, next_up=next_up
                )
        except CONNECTION_ERRORS as exc:
            logger.debug("Could not put messages back yet: %r", exc)
            lease.return_later(Return(kept, redelivered=redelivered, next_up=next_up))

    def park(self, tag: str, delay: float) -> None:
        """Park a held message for so many seconds, with the next call.

        Raises KeyError when no such message is held.
        """
        lease = self.lease
        message = lease.message(tag) if lease is not None else None
        if lease is None or (message is None and tag not in lease.lost):
            raise KeyError(f"This channel holds no message with the delivery tag {tag!r}")
        if lease.settle(tag):
            lease.parks[tag] = lease.parking(message, time.monotonic() + delay)

    def rewrite(self, message: Message, headers: dict[str, Any]) -> None:
        """Have a held message come with other headers if it is delivered again.

        Raises KeyError when it is not held.
        """
        lease, tag = self.lease, message.delivery_tag
        if lease is None or lease.message(tag) is not message:
            raise KeyError(f"This channel holds no message with the delivery tag {tag!r}")
        headers = {name: value for name, value in headers.items() if name != "compression"}
        payload = encode_json({**message.serializable(), "headers": headers})
        lease.rewrites[tag] = f"[{payload}{entry_ending(message.queue)}".encode()

    def parked(self, queues: Iterable[str], limit: int) -> list[Message]:
        """Return parked messages of some queues, those that are due next first.

        - limit: how many parked messages of all queues are looked at, at most.
        """
        keys, lists = self._options.keys, self._options.lists
        names = {lists.of_step(queue, step): queue for queue in queues for step in lists.steps}
        (tags,) = self._on_side(pack("ZRANGE", keys.parked, 0, limit - 1), 1)
        if not tags:
            return []
        (entries,) = self._on_side(pack("HMGET", keys.parked_messages, *tags), 1)
        found = (_split_parked(entry) for entry in entries if entry is not None)
        return [
            Message.claimed(self._channel, raw, None, names[name])
            for name, raw in found
            if name in names
        ]

    # -- counting ------------------------------------------------------------------------

    def starts_of(self, message: Message) -> int:
        """Return how often a message was begun again, as far as that was counted lately."""
        (count,) = self._on_side(pack("GET", self._starts_key(message)), 1)
        return int(count or 0)

    def count_start(self, message: Message) -> None:
        """Count that a message is about to be begun again."""
        key = self._starts_key(message)
        self._on_side(pack("INCR", key) + pack("EXPIRE", key, STARTS_TTL), 2)

    def _starts_key(self, message: Message) -> str:
        # The publisher's tag stays with the message, however often it is claimed.
        return f"{self._options.keys.starts}{message.properties.get('delivery_tag')}"

    def _on_side(self, commands: bytes, count: int) -> list[Any]:
        with self._side_wire.lock:
            self._side_wire.reopen_if_closed()
            replies: list[Any] = self._side_wire.call_many(commands, count)
        return replies

    # -- getting one message -----------------------------------------------------------

    def get(self, queue: str, *, no_ack: bool) -> Message | None:
        """Claim one message of a queue and wait for it; None if there is none.

        Raises connection errors, and errors of the server.
        """
        try:
            return self._get(queue, no_ack=no_ack)
        except CONNECTION_ERRORS as exc:
            self._resume(exc)
            return self._get(queue, no_ack=no_ack)

    def _get(self, queue: str, *, no_ack: bool) -> Message | None:
        self.connect(lease=not no_ack)
        self._await_replies()
        before = len(self.undelivered)
        selection = Selection.of(self.consumers.lists_of(queue, no_ack=no_ack))
        self._send(calls.claim(self.lease, self._places, selection, 1))
        self._await_replies()
        if len(self.undelivered) == before:
            return None
        payload, tag, _ = self.undelivered.pop()
        message = Message.claimed(self._channel, payload, tag, queue)
        if tag is not None and self.lease is not None:
            self.lease.held[tag] = message
        return message

    # -- ending ----------------------------------------------------------------------

    def close(self) -> None:
        """Give back what is held and disconnect. Raises errors, after `abandon`."""
        self.consumers.clear()
        try:
            self._await_replies()
            for payload, tag, queue in self.undelivered:
                if tag is None:
                    self._give_back(payload, tag, queue)
            if self.lease is not None:
                self.wire.reopen_if_closed()
                self.lease.give_back(self.wire)
                self.lease.keeper.stop(wait=True)
                self.lease.keeper.sign_off(self.wire)
        except (*CONNECTION_ERRORS, exceptions.RedisError):
            self.abandon()
            raise
        self.undelivered.clear()
        self.wire.close()

    def abandon(self) -> None:
        """Disconnect, and leave what is held to the next channel."""
        self._note_unanswered()
        self.consumers.clear()
        self.undelivered.clear()
        self.wire.close()
        if self.lease is not None and not self.lease.keeper.stopped:
            self.lease.detach()

    def _give_back(self, payload: bytes, tag: str | None, queue: str) -> None:
        """Return a message that came for a consumer that is gone: as if it had not been taken."""
        if tag is not None:
            self.release([tag], redelivered=False)
            return
        with self._side_wire.lock:
            self._side_wire.reopen_if_closed()
            self._side_wire.call(pack("RPUSH", self._options.lists.of_step(queue, 0), payload))

    # -- calls -------------------------------------------------------------------------

    def _wanted(self) -> int:
        """Return how many messages to ask for now."""
        if not self.consumers or not self.wakeup.may_have_messages:
            return 0
        room: int | None = self._channel.qos.room
        if room is None:
            return int(self._channel.connection.unlimited_batch)
        if self.undelivered:
            # Those that nobody acknowledges count until they are handed over.
            room -= sum(1 for _, tag, _ in self.undelivered if tag is None)
        return max(0, min(room, LARGEST_BATCH))

    def _send_claim(self, wanted: int) -> None:
        if not self.wire.connected:
            self.connect()
        selection = NO_LISTS
        if wanted:
            selection = self.consumers.select(
                self.wakeup.dirty,
                self._channel._queue_cycle,
                LISTS_OF_PLENTY if self.wakeup.plenty else None,
            )
        self._send(calls.claim(self.lease, self._places, selection, wanted))

    def _send_rewrites(self, lease: Lease) -> None:
        if not self.wire.connected:
            self.connect()
        self._send(calls.rewrite(lease))

    def _send_parks(self, lease: Lease) -> None:
        if not self.wire.connected:
            self.connect()
        call = calls.park(lease)
        lease.keeper.wake_by(min(parking.due for parking in (call.parks or {}).values()))
        self._send(call)

    def _send(self, call: Call, *, with_text: bool = False) -> None:
        command = call.pack(with_text=with_text)
        with self.wire.lock:  # other threads may acknowledge; calls and replies stay in step
            if not self._calls:
                self._heard = time.monotonic()
            self._calls.append(call)
            if call.wanted:
                self._claiming = True
            self.wire.send(command)

    # -- replies -----------------------------------------------------------------------

    def _receive(self) -> None:
        """Read once and take in all that came. Raises the first error among the replies."""
        error: Exception | None = None
        replies = self.wire.receive()
        self._heard = time.monotonic()
        for reply in replies:
            if isinstance(reply, Push):
                self.wakeup.on_push(reply)
            elif isinstance(reply, ErrorReply):
                error = self._on_error(self._answered(), reply) or error
            else:
                self._on_reply(self._answered(), reply)
        if error is not None:
            raise error

    def _await_replies(self) -> None:
        """Wait until every call is answered: the wire is free then."""
        while self._calls:
            self._receive()

    def _answered(self) -> Call:
        call = self._calls.popleft()
        if call.wanted:
            self._claiming = False
        return call

    def _on_error(self, call: Call, reply: ErrorReply) -> Exception | None:
        if unknown_script(reply):
            self._send(call, with_text=True)
            return None
        if self.lease is not None:
            self.lease.take_back(call)
        self.wakeup.rest()
        return self.wire.error(reply)

    def _on_reply(self, call: Call, reply: Any) -> None:
        lease = self.lease
        if call.rewrites is not None:
            if lease is not None:
                lease.rewritten(reply.decode().split())
            return
        if call.parks is not None:
            if lease is not None:
                lease.settled(call.parks, reply.decode().split())
            return
        counts, lost, *payloads = reply
        if lease is not None and (lost or lease.unsure):
            lease.settled(call.acks, lost.decode().split())
        if not call.wanted:
            return
        if lease is not None and call.owner != lease.owner and call.owner:
            return  # fenced meanwhile: others have what it claimed
        if counts == b"fenced":
            if lease is not None:
                lease.fence(call.owner)
            return
        self._on_claimed(call, [int(count) for count in counts.split()], payloads)

    def _on_claimed(self, call: Call, counts: list[int], payloads: list[bytes]) -> None:
        """Take in claimed messages.

        - counts: how many lists were found empty, then how many messages each list gave.
        """
        empty = [entry.name for entry in call.lists[: counts[0]]]
        self.wakeup.on_claimed(empty, len(payloads), plenty=len(payloads) == call.wanted > 0)
        held = self.lease.held if self.lease is not None else {}
        arrived, number = iter(payloads), call.first
        for entry, count in zip(call.lists, counts[1:], strict=False):
            if not count:
                continue
            self._channel._queue_cycle.rotate(entry.queue)
            for _ in range(count):
                tag = None
                if entry.ending:
                    tag = f"{call.owner}:{number}"
                    held[tag] = None
                number += 1
                self.undelivered.append((next(arrived), tag, entry.queue))
        if held and self.lease is not None:
            self.lease.keeper.on_held()

    # -- breaks ------------------------------------------------------------------------

    def _resume(self, error: BaseException) -> None:
        """Go on with a new connection after a break; raise if that fails or happens often."""
        self._note_unanswered()
        self.wire.close()
        self._ready = False
        now = time.monotonic()
        hopeless = isinstance(error, exceptions.AuthenticationError)
        if hopeless or now - self._resumed < RESUME_INTERVAL:
            raise error
        self._resumed = now
        logger.warning("%s. Connecting again.", error)
        self.connect()

    def _note_unanswered(self) -> None:
        """Take back what was sent and not answered: it may or may not have been done."""
        while self._calls:
            call = self._calls.popleft()
            if self.lease is not None:
                self.lease.take_back(call)
                if call.wanted and call.owner == self.lease.owner:
                    self.lease.return_claim(call.first, call.wanted)
        self._claiming = False

    def _tell_lost(self, lease: Lease) -> frozenset[str]:
        """Pass on which held messages were given to others; return their tags."""
        lost: frozenset[str] = frozenset()
        while lease.lost_news:
            lost |= lease.lost_news.popleft()
        if self._channel.on_lost is not None:
            self._channel.on_lost(lost)
        return lost


def _split_parked(entry: bytes) -> tuple[str, bytes]:
    """Return the name of the list that a parked message returns to, and its envelope."""
    length, _, rest = entry.partition(b":")
    return rest[: int(length)].decode(), rest[int(length) :]
