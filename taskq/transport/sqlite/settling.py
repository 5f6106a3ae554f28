"""Acknowledgements and the like that wait to be written, all in one transaction.

They are kept until that transaction is committed: after an error they are written with the next
one, and those of a channel that could not write them at all by any other channel of the process.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any

from kombu.log import get_logger

from taskq.transport.sqlite.claiming import SQL

__all__ = ("Settlement", "Settlements")

logger = get_logger(__name__)

W_TOO_LATE = (
    "The %s of a message in queue %r came too late and was refused (delivery tag %s): its "
    "consumer gave no sign of life for longer than its lease, and the message went to another "
    "one; or its queue was deleted."
)

#: Database path -> what closed channels could not write.
_left_behind: dict[str, deque[Settlement]] = {}


@dataclass(frozen=True, slots=True)
class Settlement:
    """How the delivery of one message ends, or goes on."""

    #: acknowledge, requeue, put_back, defer or rewrite: the statement to run.
    action: str
    message_id: int
    claim: int
    queue: str
    #: Identity of the database file that the message is in.
    file_id: str
    #: The statement's own parameter: when a deferred message is due, in seconds since 1970, or the
    #: envelope of a rewritten one.
    value: float | str | None = None

    @property
    def rings(self) -> bool:
        """Whether others may want to know."""
        return self.action not in {"acknowledge", "rewrite"}


class Settlements:
    """The settlements of one channel that are not yet written. Threads may add to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pending: deque[Settlement] = deque()
        self._unconfirmed: list[Settlement] = []
        self._refused: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._pending)

    def add(self, settlement: Settlement) -> None:
        """Have `settlement` written with the next transaction."""
        self._pending.append(settlement)

    def write(self, connection: Connection, file_id: str) -> None:
        """Write everything pending, in the transaction that `connection` is in.

        What belongs to a file that was there before `file_id` went with that file.
        """
        self._adopt()
        self._refused.clear()
        batch = self._unconfirmed
        pending = self._pending
        while pending:
            batch.append(pending.popleft())
        for settlement in batch:
            if settlement.file_id != file_id:
                continue
            parameters: tuple[Any, ...] = (settlement.message_id, settlement.claim)
            if settlement.value is not None:
                parameters += (settlement.value,)
            if not connection.execute(SQL[settlement.action], parameters).rowcount:
                tag = f"{settlement.claim}-{settlement.message_id}"
                self._refused.add(tag)
                logger.warning(W_TOO_LATE, settlement.action, settlement.queue, tag)

    def take_refused(self) -> set[str]:
        """Return the delivery tags of what was refused with the last transaction, once."""
        refused, self._refused = self._refused, set()
        return refused

    def confirm(self) -> bool:
        """The transaction was committed. Return whether consumers should be woken."""
        rings = any(settlement.rings for settlement in self._unconfirmed)
        self._unconfirmed = []
        return rings

    def undo(self) -> None:
        """The transaction was not committed: what it wrote is pending again."""
        self._pending.extendleft(reversed(self._unconfirmed))
        self._unconfirmed = []

    def leave_behind(self) -> None:
        """This channel will not write any more; somebody else in this process shall."""
        if self._pending:
            _left_behind.setdefault(self._path, deque()).extend(self._pending)
            self._pending.clear()

    def clear(self) -> None:
        """Forget everything: it belongs to the process that this one was forked from."""
        self._pending.clear()
        self._unconfirmed = []
        _left_behind.clear()

    def _adopt(self) -> None:
        left = _left_behind.get(self._path)
        while left:
            self._pending.append(left.popleft())
