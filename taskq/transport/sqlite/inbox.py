"""What one channel consumes and holds: claims messages, hands them out, settles them.

The life of a message here:

1. `fetch` writes pending settlements and claims messages, in one transaction;
2. `deliver` hands one to the callback of its consumer;
3. `acknowledge`, `requeue` or `defer` notes how that ended;
4. `flush`, or the next `fetch`, writes it down.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from sqlite3 import Connection
from typing import Any

from kombu.log import get_logger

from taskq.transport.sqlite import claiming, forking
from taskq.transport.sqlite.bell import messages_bell, ring
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseError
from taskq.transport.sqlite.keeper import Keeper, keeper_of
from taskq.transport.sqlite.message import Message
from taskq.transport.sqlite.options import Options
from taskq.transport.sqlite.owner import SQL as OWNERS
from taskq.transport.sqlite.owner import Owner, release
from taskq.transport.sqlite.routing import MESSAGES, drop_queue, drop_unused_queues
from taskq.transport.sqlite.settling import Settlement, Settlements
from taskq.transport.sqlite.subscriptions import Consumer, Subscriptions
from taskq.utils.leaseclock import LeaseClock

__all__ = ("BATCH", "Inbox")

logger = get_logger(__name__)

#: Most messages claimed in one transaction.
BATCH = 128

#: Column of a fetched row that holds the claim; 0 if the message is not to be acknowledged.
CLAIM = 8
#: How the delivery tags of such messages begin.
NO_CLAIM = "0-"

W_NOT_HELD = (
    "Cannot %s the message with delivery tag %s: this channel does not hold it any more, because "
    "it was settled before or the channel was closed, and its messages returned."
)

Row = tuple[Any, ...]


class Inbox:
    """The consuming side of one channel.

    Parameters:

    - `channel`: the channel that messages are acknowledged on.
    - `database`: its connection.
    - `options`: lease and order of queues.
    """

    def __init__(self, channel: Any, database: Database, options: Options) -> None:
        self._channel = channel
        self._database = database
        self._options = options
        self._bell = messages_bell(database)
        self._owner = Owner(options.lease)
        self._keeper: Keeper | None = None
        self._subscriptions = Subscriptions(options.queue_order_strategy)
        #: Delivery tag -> message id, claim, queue and file of what is not settled.
        self._held: dict[str, tuple[int, int, str, str]] = {}
        self._settlements = Settlements(database.path)
        self._writing = threading.Lock()
        #: Claimed, and not yet handed to a callback.
        self._undelivered: deque[Row] = deque()
        #: Most messages to hold at a time; 0 for any number.
        self.prefetch_count = 0
        #: Returns how many messages are worked on that are not held: acknowledged ones.
        self.occupied: Callable[[], int] | None = None
        #: There may be something to fetch.
        self.dirty = False
        #: The last fetch got all it asked for, so that there is probably more.
        self._eager = False
        #: The last fetch left queues out because there was no room to hold more.
        self._starved = False
        #: When the held messages were last known to be ours (monotonic clock).
        self._sure_at = time.monotonic()
        #: When the first delayed message is due (seconds since 1970), as of the last fetch.
        self.due: float | None = None
        forking.register(self)

    @property
    def lease_clock(self) -> LeaseClock | None:
        """Where the state of the lease is shown to the worker's pool."""
        return self._owner.clock

    @lease_clock.setter
    def lease_clock(self, clock: LeaseClock | None) -> None:
        self._owner.clock = clock

    # -- consumers ----------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        """Consume from a queue from now on."""

        def subscribe(connection: Connection) -> None:
            self._ensure_owner(connection)
            row = (consumer.queue, self._owner.id, consumer.tag)
            connection.execute(OWNERS["add_consumer"], row)

        self._transact(subscribe)
        self._keeper = keeper_of(self._options, self._owner)
        self._subscriptions.add(consumer)
        self.dirty = True

    def remove_consumer(self, tag: str) -> None:
        """Consume no more under this tag; what was not handed out yet goes back."""
        consumer = self._subscriptions.pop(tag)
        if consumer is None:
            return
        self._put_back_undelivered()

        def unsubscribe(connection: Connection) -> None:
            if self._owner_is_here():
                row = (consumer.queue, self._owner.id, tag)
                connection.execute(OWNERS["remove_consumer"], row)
            drop_unused_queues(connection, [consumer.queue], time.time(), disconnected=False)

        self._transact(unsubscribe)

    def has_consumers(self) -> bool:
        """Tell whether anything is consumed."""
        return bool(self._subscriptions)

    # -- fetching -----------------------------------------------------------

    def can_consume(self) -> bool:
        """Tell whether another message could be fetched as far as the prefetch count goes."""
        return bool(self._subscriptions.no_ack_queues) or self.capacity() > 0

    def has_undelivered(self) -> bool:
        """Tell whether something was fetched and waits to be delivered."""
        return bool(self._undelivered)

    def wants_more(self) -> bool:
        """Tell whether there may be something to fetch, and room for it."""
        return self.dirty and not self._undelivered and self.can_consume()

    def capacity(self) -> int:
        """Return how many more messages may be held, at most `BATCH`."""
        if not self.prefetch_count:
            return BATCH
        occupied = self.occupied() if self.occupied is not None else 0
        return min(self.prefetch_count - len(self._held) - occupied, BATCH)

    def fetch(self, limit: int = BATCH) -> bool:
        """Claim up to `limit` messages; return whether there is now something to deliver.

        Pending settlements are written along. Takes no write lock when there is nothing to do.
        """
        if self._undelivered:
            return True
        now = time.time()
        queues = self._subscriptions.all_queues()
        if self._settlements or self._eager or claiming.has_work(self._database, queues, now):
            rows, self._eager = self._transact(
                lambda connection: self._claim(connection, limit, now)
            )
            self._hold(rows)
            self._undelivered.extend(rows)
            self.dirty = self._eager
        else:
            self.dirty = False
        if not self.dirty:
            self.due = claiming.next_due(self._database, queues)
        return bool(self._undelivered)

    def get(self, queue: str, *, no_ack: bool) -> Message | None:
        """Claim and return the next message of a queue, or None if there is none."""
        now = time.time()
        if not claiming.has_work(self._database, [queue], now):
            return None

        def claim(connection: Connection) -> list[Row]:
            claiming.promote(connection, [queue], now)
            return self._claim_from(connection, [queue], 1, now, no_ack=no_ack)

        rows = self._transact(claim)
        if self._owner.id and self._keeper is None:
            self._keeper = keeper_of(self._options, self._owner)
        self._hold(rows)
        return self._message(rows[0]) if rows else None

    def deliver(self) -> bool:
        """Hand the next fetched message to its consumer; return whether there was one."""
        while self._undelivered:
            row = self._undelivered.popleft()
            consumer = self._subscriptions.consumer_of(row[1])
            if consumer is not None:
                consumer.callback(self._message(row))
                return True
            self._settle(_tag(row), "put_back")
        return False

    # -- settling -----------------------------------------------------------

    def acknowledge(self, delivery_tag: str) -> None:
        """Note that a message is done. Unknown tags are those of consumers without acks."""
        self._settle(delivery_tag, "acknowledge")

    def acknowledge_all(self, delivery_tag: str) -> None:
        """Acknowledge every message delivered up to this one."""
        if delivery_tag in self._held:
            for tag in list(self._held):
                self._settle(tag, "acknowledge")
                if tag == delivery_tag:
                    break

    def requeue(self, delivery_tag: str) -> None:
        """Note that a message goes back to its queue, to be delivered again."""
        self._settle(delivery_tag, "requeue")

    def requeue_all(self) -> None:
        """Give back everything that is held."""
        self._undelivered.clear()
        for tag in list(self._held):
            self._settle(tag, "requeue")

    def put_back(self, delivery_tag: str) -> None:
        """Note that a message goes back to its queue as if it had not been taken."""
        self._settle(delivery_tag, "put_back")

    def count_start(self, delivery_tag: str) -> None:
        """Note in the database that a held message is about to be worked on once more."""
        held = self._held.get(delivery_tag)
        if held is not None:
            self._transact(lambda connection: connection.execute(MESSAGES["count_start"], held[:2]))

    def defer(self, delivery_tag: str, due: float) -> None:
        """Note that a message is to be delivered again at `due` (seconds since 1970)."""
        self._settle(delivery_tag, "defer", due)

    def rewrite(self, delivery_tag: str, envelope: str) -> None:
        """Note that a held message has this envelope if it is delivered again. Raises KeyError."""
        held = self._held[delivery_tag]
        self._settlements.add(Settlement("rewrite", *held, envelope))

    def flush(self) -> None:
        """Write what was noted.

        Raises:
            taskq.transport.sqlite.errors.DatabaseError: it is kept, to be written later.
        """
        if self._settlements:
            self._transact(lambda connection: None)

    def lost(self) -> frozenset[str]:
        """Return the tags of messages that were given to others.

        Those just settled are known because that was refused. Those held are only looked up after
        a pause in which it may have happened: half a lease without a call.
        """
        lost = self._settlements.take_refused()
        now = time.monotonic()
        paused, self._sure_at = now - self._sure_at, now
        if paused < self._options.lease / 2:
            return frozenset(lost)
        for tag, (message_id, claim, _, _) in list(self._held.items()):
            rows = self._database.read(MESSAGES["claim_of"], (message_id,))
            if not rows or rows[0][0] != claim:
                lost.add(tag)
                self._held.pop(tag, None)
        return frozenset(lost)

    def has_settlements(self) -> bool:
        """Tell whether something waits to be written."""
        return bool(self._settlements)

    # -- the end ------------------------------------------------------------

    def close(self, exclusive_queues: list[str]) -> None:
        """Write what was noted, give back what is held, and consume no more.

        Parameters:
            exclusive_queues: queues to delete, because they were this channel's alone.

        Raises:
            taskq.transport.sqlite.errors.DatabaseError: what was noted will be written by the
                next channel of this process, the rest goes back when the lease runs out.
        """
        if self._keeper is not None:
            self._keeper.unwatch(self._owner)
            self._keeper = None
        consumed = self._subscriptions.all_queues()
        self._subscriptions.clear()
        self._put_back_undelivered()
        held, self._held = self._held, {}
        if not (self._owner.id or self._settlements or exclusive_queues):
            return

        def leave(connection: Connection) -> int:
            now = time.time()
            returned = 0
            if self._owner_is_here():
                owner_id = self._owner.id
                returned = release(connection, owner_id, failed=False) if held else 0
                connection.execute(OWNERS["remove_consumers"], (owner_id,))
                connection.execute(OWNERS["forget"], (owner_id,))
            drop_unused_queues(connection, consumed, now, disconnected=True)
            for queue in exclusive_queues:
                drop_queue(connection, queue, now)
            return returned

        try:
            returned = self._transact(leave)
        except DatabaseError:
            self._settlements.leave_behind()
            raise
        if returned:
            ring(self._database, self._bell)

    def before_fork(self) -> None:
        """Nothing to do: what is held stays the parent's."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Forget everything: the parent holds it, and a child must not settle or return it."""
        self._owner = Owner(self._options.lease)
        self._keeper = None
        self._writing = threading.Lock()
        self._subscriptions.clear()
        self._held.clear()
        self._undelivered.clear()
        self._settlements.clear()

    # -- inside -------------------------------------------------------------

    def _put_back_undelivered(self) -> None:
        """Have what no consumer was shown go back to queues that are not consumed any more."""
        kept: deque[Row] = deque()
        for row in self._undelivered:
            if self._subscriptions.consumer_of(row[1]) is not None:
                kept.append(row)
            else:
                self._settle(_tag(row), "put_back")
        self._undelivered = kept

    def _hold(self, rows: list[Row]) -> None:
        for row in rows:
            if row[CLAIM]:
                self._held[_tag(row)] = (row[0], row[CLAIM], row[1], self._owner.file_id)

    def _settle(self, delivery_tag: str, action: str, due: float | None = None) -> None:
        held = self._held.pop(delivery_tag, None)
        if held is not None:
            message_id, claim, queue, file_id = held
            self._settlements.add(Settlement(action, message_id, claim, queue, file_id, due))
            if self._starved:
                self.dirty = True
        elif not delivery_tag.startswith(NO_CLAIM):
            logger.warning(W_NOT_HELD, action, delivery_tag)

    def _transact(self, action: Callable[[Connection], Any]) -> Any:
        """Write what is pending and run `action`, in one transaction."""
        # One at a time: threads that acknowledge share what is pending with the one that fetches.
        with self._writing:
            owner_id = self._owner.id
            try:
                with self._database.transaction() as connection:
                    self._settlements.write(connection, self._database.file_id)
                    outcome = action(connection)
            except BaseException:
                self._settlements.undo()
                self._owner.id = owner_id
                raise
            rings = self._settlements.confirm()
        if rings:
            ring(self._database, self._bell)
        return outcome

    def _claim(self, connection: Connection, limit: int, now: float) -> tuple[list[Row], bool]:
        """Claim from all queues; return the rows, and whether there is probably more."""
        subscriptions = self._subscriptions
        more = claiming.promote(connection, subscriptions.all_queues(), now)
        rows: list[Row] = []
        if queues := subscriptions.no_ack_queues:
            rows = self._claim_from(connection, queues, limit, now, no_ack=True)
            more = more or len(rows) == limit
        room = min(limit, self.capacity())
        self._starved = bool(subscriptions.queues) and room <= 0
        if subscriptions.queues and room > 0:
            claimed = self._claim_from(connection, subscriptions.queues, room, now, no_ack=False)
            more = more or len(claimed) == room
            rows += claimed
        subscriptions.take_turns()
        return rows, more

    def _claim_from(
        self, connection: Connection, queues: Sequence[str], limit: int, now: float, *, no_ack: bool
    ) -> list[Row]:
        """Claim from queues of one kind; expired messages that turn up are deleted."""
        live: list[Row] = []
        while len(live) < limit:
            ids = claiming.choose(connection, queues, limit - len(live))
            if not ids:
                break
            if no_ack:
                rows = [(*row, 0) for row in claiming.take(connection, ids)]
            else:
                self._ensure_owner(connection)
                number = self._owner.next_claim()
                rows = [(*row, number) for row in claiming.claim(connection, ids, number)]
            for row in rows:
                expires_at = row[5]
                if expires_at is None or expires_at > now:
                    live.append(row)
                elif not no_ack:
                    connection.execute(claiming.SQL["drop"], (row[0],))
        return live

    def _owner_is_here(self) -> bool:
        """Tell whether the owner's id means something in the file that is open now."""
        return self._owner.file_id == self._database.file_id

    def _ensure_owner(self, connection: Connection) -> None:
        if self._owner.ensure(connection, self._database.file_id):
            for consumer in self._subscriptions.consumers():
                row = (consumer.queue, self._owner.id, consumer.tag)
                connection.execute(OWNERS["add_consumer"], row)

    def _message(self, row: Row) -> Message:
        _, _, _, redelivered, deliveries, _, envelope, body, _ = row
        return Message(
            channel=self._channel,
            delivery_tag=_tag(row),
            envelope=envelope,
            body=body,
            redelivered=redelivered,
            deliveries=deliveries,
        )


def _tag(row: Row) -> str:
    """Return the delivery tag of a row, which names its claim as well as its message."""
    return f"{row[CLAIM]}-{row[0]}"
