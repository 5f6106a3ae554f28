"""Claiming: messages come from the queue lists in batches, acknowledgements travel along.

One `Claimer` per channel that consumes or gets from queues. It is driven from outside: `tick` when
something may be to send, `on_readable` when its connection has something to read.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis import checks
from taskq.transport.redis.lease import Lease, LeaseOptions, adopt
from taskq.transport.redis.message import Message
from taskq.transport.redis.resp import Argument, ErrorReply, Push, pack, pack_argument
from taskq.transport.redis.scripts import script, unknown_script
from taskq.transport.redis.wakeup import Wakeup
from taskq.transport.redis.wire import Wire, readable

logger = get_logger(__name__)

#: Messages claimed at once when the prefetch count is unlimited, and at most.
UNLIMITED_BATCH, LARGEST_BATCH = 100, 500
#: Most acknowledgements or parkings sent with one call.
SETTLE_BATCH = 1000
#: Combinations of lists whose packed names are kept.
CACHE_SIZE = 256
#: Seconds between two attempts to go on after the connection broke, without telling anybody.
RESUME_INTERVAL = 2.0

CONNECTION_ERRORS = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)


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
class _Selection:
    """Lists that a claim looks at, in order, with their names and endings packed."""

    lists: Sequence[QueueList]
    names: bytes
    endings: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    """A call whose reply has not come yet.

    - lists: that the claim looks at; None for a call that parks.
    - settled: the tags it acknowledges or parks.
    """

    lists: Sequence[QueueList] | None
    owner: str
    first: int
    wanted: int
    settled: Sequence[str]
    command: Callable[[bool], bytes]


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
        wire.on_push = self._on_push
        self.lease: Lease | None = None
        self.consumers: dict[str, Consumer] = {}
        self.wakeup = Wakeup()
        #: Claimed messages not yet handed over: (payload, tag or None, queue).
        self.undelivered: deque[tuple[bytes, str | None, str]] = deque()
        self._requests: deque[_Request] = deque()
        self._places = pack_argument(options.keys.unacked)
        self._places += pack_argument(options.keys.unacked_index)
        #: Parkings whose call is not answered yet.
        self._parking: dict[str, Any] = {}
        self._claiming = False
        self._lists: dict[str, list[QueueList]] = {}
        self._selections: dict[tuple[str, ...], _Selection] = {}
        self._ready = False
        self._resumed = 0.0
        self._lost_news: deque[frozenset[str]] = deque()

    # -- consumers --------------------------------------------------------------

    def add_consumer(
        self, queue: str, tag: str, callback: Callable[[Message], Any], *, no_ack: bool
    ) -> None:
        """Deliver the messages of a queue to a callback."""
        consumer = self.consumers.get(queue)
        if consumer is None or consumer.no_ack != no_ack:
            consumer = self.consumers[queue] = Consumer(queue, no_ack)
        consumer.callbacks[tag] = callback
        self._relist()

    def remove_consumer(self, queue: str, tag: str) -> None:
        """Stop delivering to a callback; messages of a queue without any are given back."""
        consumer = self.consumers.get(queue)
        if consumer is None:
            return
        consumer.callbacks.pop(tag, None)
        if not consumer.callbacks:
            del self.consumers[queue]
            self._relist()

    def _relist(self) -> None:
        lists = self._options.lists
        self._lists = {
            queue: [self._queue_list(queue, step, no_ack=consumer.no_ack) for step in lists.steps]
            for queue, consumer in self.consumers.items()
        }
        self._selections.clear()
        self.wakeup.watch(
            {entry.name for entries in self._lists.values() for entry in entries},
            urgent={entries[0].name for entries in self._lists.values()},
        )
        if self.lease is not None:
            self.lease.queues = set(self.consumers)

    def _queue_list(self, queue: str, step: int, *, no_ack: bool) -> QueueList:
        return QueueList(
            name=self._options.lists.of_step(queue, step),
            queue=queue,
            ending="" if no_ack else _ending(queue),
        )

    @property
    def _keeps(self) -> bool:
        """Whether any consumer acknowledges, so that messages are held."""
        return any(not consumer.no_ack for consumer in self.consumers.values())

    # -- connection ---------------------------------------------------------------

    def connect(self, *, lease: bool = False) -> None:
        """Connect, if not connected, and sign on. Raises one of redis-py's errors.

        - lease: a lease is needed, whatever the consumers.
        """
        if not self._ready or not self.wire.connected:
            self.wire.open()
            uptime = checks.check_server(self.wire)
            # What is written by hash must be executed, not refused, when nobody awaits the reply.
            script("claim").load(self.wire)
            script("park").load(self.wire)
            self._sign_on(uptime)
            self.wakeup.start(self.wire)
            self._ready = True
        if (lease or self._keeps) and self.lease is None:
            self._sign_on(None, needed=True)

    def _sign_on(self, uptime: float | None, *, needed: bool = False) -> None:
        """Get a lease, if messages are going to be held, and tell the server."""
        if self.lease is None and (needed or self._keeps):
            self.lease = adopt(self._options, self.consumers) or Lease(
                self._options, self._keeper_wire
            )
            self.lease.queues = set(self.consumers)
            self.lease.attach(self._channel)
        if self.lease is not None:
            self._await_replies()
            self.lease.register(self.wire, server_uptime=uptime)
            self.lease.start(self._lost_news.append)

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
        return bool(
            self.consumers
            or self.undelivered
            or (lease is not None and (lease.acks or lease.parks))
        )

    # -- the loop -------------------------------------------------------------------

    def tick(self) -> None:
        """Send what there is to send. Raises connection errors."""
        if self._lost_news:
            self._tell_lost()
        try:
            self._send_pending()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)

    def _send_pending(self) -> None:
        # A consumer that acknowledges may have come after the connection: nothing may be claimed
        # for it in nobody's name.
        if self.consumers and (not self.wire.connected or (self.lease is None and self._keeps)):
            self.connect()
        lease = self.lease
        if not self._claiming:
            wanted = self._wanted()
            if wanted and not self._requests and not self.wakeup.urgent:
                self._look_for_urgent()
            if wanted or (lease is not None and lease.acks):
                self._send_claim(wanted)
        if lease is not None and lease.parks:
            self._send_parks()

    def _look_for_urgent(self) -> None:
        """Before less urgent messages are claimed, hear whether others have come meanwhile."""
        if readable(self.wire.sock):
            self._receive()

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
            if lease.doubtful:
                self._await_replies()
                lease.verify(self.wire)
                self.wakeup.look()  # of what came back that way the server doesn't tell us
            self.send_settled()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)
            return self.flush()
        return self._tell_lost() if self._lost_news else frozenset()

    def send_settled(self) -> None:
        """Write all buffered acknowledgements and parkings; reads nothing."""
        lease = self.lease
        if lease is None:
            return
        if lease.acks:
            self._send_claim(0 if self._claiming else self._wanted())
        while lease.acks:
            self._send_claim(0)
        while lease.parks:
            self._send_parks()

    def deliver(self, limit: int | None = None) -> int:
        """Hand claimed messages to their consumers; return how many.

        - limit: at most so many.
        """
        undelivered, consumers, delivered = self.undelivered, self.consumers, 0
        held = self.lease.held if self.lease is not None else {}
        while undelivered and delivered != limit:
            payload, tag, queue = undelivered.popleft()
            consumer = consumers.get(queue)
            if consumer is None:
                self._give_back(payload, tag, queue)
                continue
            message = Message.claimed(self._channel, payload, tag, queue)
            if tag is not None:
                held[tag] = message
            delivered += 1
            *_, callback = consumer.callbacks.values()
            callback(message)
        return delivered

    # -- settling -------------------------------------------------------------------

    def ack(self, tag: str) -> bool:
        """Acknowledge a held message with the next call; return whether there is something to send.

        Logs a warning if it was given to others.
        """
        lease = self.lease
        if lease is None:
            return False
        if lease.settle(tag):
            lease.acks.append(tag)
            return True
        if tag in lease.lost:
            lease.lost.discard(tag)
            lease.report_lost([tag])
        return False

    def release(
        self, tags: Iterable[str], *, redelivered: bool = True, next_up: bool = True
    ) -> None:
        """Put held messages back to their queues, at once. Raises connection errors.

        - redelivered: flag them as delivered before.
        - next_up: they are delivered before what waits in the queues, else after it.
        """
        lease = self.lease
        if lease is None:
            return
        kept = [tag for tag in tags if lease.settle(tag)]
        if kept:
            with self._side_wire.lock:
                self._side_wire.reopen_if_closed()
                lease.restorer.restore(
                    self._side_wire, kept, redelivered=redelivered, next_up=next_up
                )

    def park(self, tag: str, delay: float) -> None:
        """Park a held message for so many seconds, with the next call.

        Raises KeyError when no such message is held.
        """
        lease = self.lease
        message = lease.message(tag) if lease is not None else None
        if lease is None or message is None:
            raise KeyError(f"This channel holds no message with the delivery tag {tag!r}")
        if not lease.settle(tag):
            lease.lost.discard(tag)
            lease.report_lost([tag])
            return
        lease.parks[tag] = (
            time.monotonic() + delay,
            self._options.lists.of_priority(message.queue, message.properties.get("priority")),
            len(_ending(message.queue)),
        )

    # -- getting one message -----------------------------------------------------------

    def get(self, queue: str, *, no_ack: bool) -> Message | None:
        """Claim one message of a queue and wait for it; None if there is none."""
        self.connect(lease=not no_ack)
        lists = [self._queue_list(queue, step, no_ack=no_ack) for step in self._options.lists.steps]
        self._await_replies()
        before = len(self.undelivered)
        self._send(self._claim_request(_select(lists), 1))
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
        """Give back what is held and disconnect. Raises connection errors, after `abandon`."""
        self.consumers.clear()
        try:
            self._await_replies()
            self._return_unkept()
            if self.lease is not None:
                self.wire.reopen_if_closed()
                self.lease.close(self.wire)
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
        if self.lease is not None:
            self.lease.detach()

    def _return_unkept(self) -> None:
        """Push messages back that nobody was given and that are not kept in `unacked`."""
        for payload, tag, queue in self.undelivered:
            if tag is None:
                self._give_back(payload, tag, queue)
        self.undelivered.clear()

    def _give_back(self, payload: bytes, tag: str | None, queue: str) -> None:
        """Return a message that came for a consumer that is gone: as if it had not been taken."""
        if tag is not None:
            self.release([tag], redelivered=False)
            return
        with self._side_wire.lock:
            self._side_wire.reopen_if_closed()
            self._side_wire.call(pack("RPUSH", self._options.lists.of_step(queue, 0), payload))

    # -- requests ----------------------------------------------------------------------

    def _wanted(self) -> int:
        """Return how many messages to ask for now."""
        if not self.wakeup.may_have_messages or not self.consumers:
            return 0
        room: int | None = self._channel.qos.room
        if room is None:
            return int(self._channel.connection.unlimited_batch)
        # Messages of consumers that don't acknowledge count until they are handed over.
        return max(0, min(room - self._unkept(), LARGEST_BATCH))

    def _unkept(self) -> int:
        return sum(1 for _, tag, _ in self.undelivered if tag is None)

    def _send_claim(self, wanted: int) -> None:
        if not self.wire.connected:
            self.connect()
        selection = self._selection() if wanted else _NOTHING
        self._send(self._claim_request(selection, wanted))

    def _claim_request(self, selection: _Selection, wanted: int) -> _Request:
        """Return the call that claims from lists and takes buffered acknowledgements along."""
        lease = self.lease
        acks: list[str] = []
        owner, first, fence = "", 0, ""
        if lease is not None:
            acks = lease.acks[:SETTLE_BATCH]
            del lease.acks[: len(acks)]
            owner, first = lease.owner, lease.next_number
            fence = self._options.keys.fence + owner
            lease.next_number += wanted
        names = pack_argument(fence) + selection.names
        values: list[Argument] = [owner, int(time.time()), wanted, first, len(acks), *acks]
        arguments = self._places + b"".join(map(pack_argument, values)) + selection.endings
        count = len(selection.lists)

        def command(with_text: bool) -> bytes:
            return script("claim").pack_parts(
                names, 1 + count, arguments, 2 + len(values) + count, with_text=with_text
            )

        return _Request(selection.lists, owner, first, wanted, acks, command)

    def _send_parks(self) -> None:
        lease = self.lease
        if lease is None:
            return
        if not self.wire.connected:
            self.connect()
        tags = list(lease.parks)[:SETTLE_BATCH]
        keys, values = lease.park_arguments(tags)
        for tag in tags:
            lease.wake_by(lease.parks[tag][0])

        def command(with_text: bool) -> bytes:
            return script("park").pack(keys, values, with_text=with_text)

        self._send(_Request(None, lease.owner, 0, 0, tags, command))
        for tag in tags:
            self._parking[tag] = lease.parks.pop(tag)

    def _send(self, request: _Request, *, with_text: bool = False) -> None:
        command = request.command(with_text)
        with self.wire.lock:  # other threads may acknowledge; requests and replies stay in step
            self._requests.append(request)
            if request.wanted:
                self._claiming = True
            self.wire.send(command)

    def _selection(self) -> _Selection:
        """Return the lists that may have messages, the most preferred first."""
        dirty = self.wakeup.dirty
        cycle = self._channel._queue_cycle
        queues = cycle.consume(len(self.consumers)) if len(self.consumers) > 1 else self.consumers
        lists = [
            entry
            for entries in zip(*(self._lists[queue] for queue in queues), strict=True)
            for entry in entries
            if entry.name in dirty
        ]
        names = tuple(entry.name for entry in lists)
        selection = self._selections.get(names)
        if selection is None:
            if len(self._selections) >= CACHE_SIZE:
                self._selections.clear()
            selection = self._selections[names] = _select(lists)
        return selection

    # -- replies -----------------------------------------------------------------------

    def _receive(self) -> None:
        for reply in self.wire.receive():
            if isinstance(reply, Push):
                self._on_push(reply)
            else:
                self._on_reply(reply)

    def _await_replies(self) -> None:
        """Wait until every call is answered: the wire is free then."""
        while self._requests:
            self._receive()

    def _on_push(self, message: Push) -> None:
        self.wakeup.on_push(message)

    def _on_reply(self, reply: Any) -> None:
        request = self._requests.popleft()
        if request.wanted:
            self._claiming = False
        if isinstance(reply, ErrorReply):
            self._on_error(request, reply)
        elif request.lists is None:
            self._on_parked(request, reply)
        else:
            self._on_claimed(request, reply)

    def _on_error(self, request: _Request, reply: ErrorReply) -> None:
        if unknown_script(reply):
            self._send(request, with_text=True)
            return
        self._take_back(request)
        self.wakeup.rest()
        raise self.wire.error(reply)

    def _on_parked(self, request: _Request, reply: bytes) -> None:
        for tag in request.settled:
            self._parking.pop(tag, None)
        if self.lease is not None:
            self.lease.report_lost(reply.decode().split())
            self.lease.unsure.difference_update(request.settled)

    def _on_claimed(self, request: _Request, reply: list[bytes]) -> None:
        lease = self.lease
        if lease is not None and (reply[1] or lease.unsure):
            lease.report_lost(reply[1].decode().split())
            lease.unsure.difference_update(request.settled)
        if not request.wanted or request.lists is None:
            return
        if reply[0] == b"fenced":
            if lease is not None:
                lease.fence(request.owner)
            return
        dry, *counts = map(int, reply[0].split())
        self.wakeup.on_claimed([entry.name for entry in request.lists[:dry]], len(reply) - 2)
        position, number = 2, request.first
        for entry, count in zip(request.lists, counts, strict=False):
            for payload in reply[position : position + count]:
                tag = f"{request.owner}:{number}" if entry.ending else None
                number += 1
                if tag is not None and lease is not None:
                    lease.held[tag] = None
                self.undelivered.append((payload, tag, entry.queue))
            if count:
                self._channel._queue_cycle.rotate(entry.queue)
            position += count

    # -- breaks ------------------------------------------------------------------------

    def _resume(self, error: BaseException) -> None:
        """Go on with a new connection after a break; raise if that fails or happens often."""
        self._note_unanswered()
        self.wire.close()
        self._ready = False
        now = time.monotonic()
        if now - self._resumed < RESUME_INTERVAL or isinstance(
            error, exceptions.AuthenticationError
        ):
            raise error
        self._resumed = now
        logger.warning("%s. Connecting again.", error)
        self.connect()

    def _note_unanswered(self) -> None:
        """Take back what was sent and not answered: it may or may not have been done."""
        for request in self._requests:
            self._take_back(request)
            if request.wanted and request.owner and self.lease is not None:
                self.lease.add_ghost(request.first, request.wanted)
        self._requests.clear()
        self._claiming = False

    def _take_back(self, request: _Request) -> None:
        lease = self.lease
        if lease is None:
            return
        lease.unsure.update(request.settled)
        if request.lists is not None:
            lease.acks[:0] = request.settled
            return
        for tag in request.settled:
            lease.parks[tag] = self._parking.pop(tag)

    def _tell_lost(self) -> frozenset[str]:
        """Pass on which held messages were given to others; return their tags."""
        lost: frozenset[str] = frozenset()
        while self._lost_news:
            lost |= self._lost_news.popleft()
        if self._channel.on_lost is not None:
            self._channel.on_lost(lost)
        return lost


def _ending(queue: str) -> str:
    """Return what kombu's format has behind the payload: no exchange, and the queue as its key."""
    return f', "", {json.dumps(queue)}]'


def _select(lists: Sequence[QueueList]) -> _Selection:
    return _Selection(
        lists,
        b"".join(pack_argument(entry.name) for entry in lists),
        b"".join(pack_argument(entry.ending) for entry in lists),
    )


_NOTHING = _select([])
