"""A channel's right to hold messages: an owner row with a lease, and numbered claims under it."""

from __future__ import annotations

import time
from pathlib import Path
from sqlite3 import Connection

from kombu.log import get_logger

from taskq.transport.sqlite.process import current_identity
from taskq.transport.sqlite.statements import read_statements
from taskq.utils.leaseclock import LeaseClock

__all__ = ("SQL", "Owner", "owner_of", "release")

logger = get_logger(__name__)

W_LOST = (
    "Consumer %d gave no sign of life for longer than its lease of %g s: the messages it held "
    "were given to others. It goes on as a new consumer."
)

SQL = read_statements(Path(__file__).with_name("sql") / "owners.sql")

#: Bits of a claim that number the claims of one owner.
CLAIM_BITS = 32


class Owner:
    """The owner row of one channel; made on the first claim and again if it was taken for dead.

    Parameters:

    - `lease`: seconds without a sign of life after which its messages go to others.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        #: Row id; 0 while there is none.
        self.id = 0
        #: Identity of the database file that the row is in.
        self.file_id = ""
        self._last_claim = 0
        self._clock: LeaseClock | None = None
        self._renewed_at = 0.0
        self._missed = 0

    @property
    def clock(self) -> LeaseClock | None:
        """Where the worker's pool sees until when the lease is good."""
        return self._clock

    @clock.setter
    def clock(self, clock: LeaseClock | None) -> None:
        self._clock = clock
        if self.id:
            self.renewed(self._renewed_at)

    def renewed(self, now: float) -> None:
        """The database has the lease; `now` is the monotonic time when it was renewed."""
        self._renewed_at = now
        if self.clock is not None:
            self.clock.renewed(self.lease, since=now)

    def is_gone(self) -> None:
        """The row is not there any more: what was held was given to others."""
        if self.clock is not None and self._missed != self.id:
            self._missed = self.id
            self.clock.lost()

    def ensure(self, connection: Connection, file_id: str) -> bool:
        """Make sure, inside of a transaction, that the row is there.

        Returns True if it had to be made. Without this check a consumer that was stopped for
        longer than its lease would go on to claim under an owner that nobody watches any more.
        """
        if self.id and self.file_id == file_id:
            if connection.execute(SQL["exists"], (self.id,)).fetchone():
                return False
            logger.warning(W_LOST, self.id, self.lease)
            self.is_gone()
        who = current_identity()
        expires_at = time.monotonic() + self.lease
        cursor = connection.execute(
            SQL["create"], (expires_at, self.lease, who.pid, who.started, who.scope, who.host)
        )
        assert cursor.lastrowid is not None
        self.id = cursor.lastrowid
        self.file_id = file_id
        self._last_claim = 0
        self.renewed(expires_at - self.lease)
        return True

    def next_claim(self) -> int:
        """Return a claim that no owner has ever used."""
        self._last_claim += 1
        return (self.id << CLAIM_BITS) + self._last_claim


def owner_of(claim: int) -> int:
    """Return the id of the owner that made `claim`."""
    return claim >> CLAIM_BITS


def release(connection: Connection, owner_id: int, *, failed: bool) -> int:
    """Give everything that an owner holds back to its queues; return the number of messages.

    Parameters:
        connection: in a transaction.
        owner_id: the owner.
        failed: count it as a failed delivery: the owner died with these messages in its hands.
    """
    first = owner_id << CLAIM_BITS
    last = (owner_id + 1) << CLAIM_BITS
    return connection.execute(SQL["release"], (first, last, int(failed))).rowcount
