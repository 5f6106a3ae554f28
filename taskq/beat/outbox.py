"""How a leader sends where the lease is beside the broker: nothing is lost, nothing runs twice.

1. What is about to be sent is written down, with the messages themselves.
2. The broker gets the messages, and confirms them.
3. The run is written down as sent.

A leader that dies after the first step has its successor send the same messages, with the same ids,
unless the broker knows that it has them (`taskq.beat.witness`). It may have them twice then: each
copy has a name of its own in a header, and workers run the first copy that comes to them
(`taskq.beat.copies`).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from taskq.app.trace.copies import HEADER
from taskq.beat.leases import Intent, OutboxLease
from taskq.beat.witness import Witness, witness_for
from taskq.utils.log import get_logger

__all__ = ("Outbox",)

logger = get_logger("celery.beat")


class _Pending:
    """A run that was written down and is to be sent.

    - twice: whether somebody may have sent it already.
    """

    __slots__ = ("intent", "is_sent", "twice")

    def __init__(self, intent: Intent, *, twice: bool) -> None:
        self.intent = intent
        self.twice = twice
        self.is_sent = False


class Outbox:
    """What this leader is about to send, and what the one before it left.

    Parameters:
        fence: of this leader.
        name: of the lease.
        inherited: what was written down before and never settled.
        is_broker_away: whether an error means that it is to be tried again.
    """

    def __init__(
        self,
        fence: int,
        name: str,
        inherited: list[Intent],
        is_broker_away: Callable[[BaseException], bool],
    ) -> None:
        self._fence = fence
        self._name = name
        self._witness: Witness | None = None
        #: Connection that has no witness.
        self._unwitnessed: Any = None
        self._pending = [_Pending(intent, twice=True) for intent in inherited]
        self._is_broker_away = is_broker_away

    def __bool__(self) -> bool:
        """Whether anything is to be sent."""
        return bool(self._pending)

    def put(self, lease: OutboxLease, intent: Intent) -> None:
        """Write down what is about to be sent. Raises Fenced, and errors of the store."""
        lease.intend(self._fence, intent)
        self._pending.append(_Pending(intent, twice=False))

    def flush(self, lease: OutboxLease, channel: Any) -> None:
        """Send all of it, in order. Raises Fenced, and errors of store and broker.

        What an error has kept from being sent is still to be sent.
        """
        while self._pending:
            pending = self._pending[0]
            if not pending.is_sent:
                self._send(pending, channel)
            lease.settle(self._fence, pending.intent, twice=pending.twice)
            del self._pending[0]

    def _send(self, pending: _Pending, channel: Any) -> None:
        again, pending.twice = pending.twice, True  # until it is known that the broker has it
        intent = pending.intent
        witness = self._witness_at(channel) if intent.messages else None
        if not (again and witness is not None and witness.knows(intent.run.key)):
            if again:
                logger.warning(
                    "beat: it is not known whether %s was sent: sending it again, to be run once.",
                    intent.entry,
                )
            try:
                _publish(intent, channel, witness)
            except Exception as exc:
                if self._is_broker_away(exc):
                    raise
                # The broker refuses it, and would the next time.
                logger.error("Message Error: %s: %r", intent.entry, exc, exc_info=True)
        pending.twice = again
        pending.is_sent = True

    def _witness_at(self, channel: Any) -> Witness | None:
        """Return the broker's witness, made for each connection."""
        connection, witness = channel.connection, self._witness
        if witness is None or witness.connection is not connection or not witness.is_open:
            if self._unwitnessed is connection:
                return None
            witness = self._witness = witness_for(channel, self._name)
            self._unwitnessed = connection if witness is None else None
        return witness


def _publish(intent: Intent, channel: Any, witness: Witness | None) -> None:
    copies = [(draft, _copy_of(intent)) for draft in intent.messages]
    if witness is not None:
        witness.send(intent.run.key, copies)
        return
    for draft, headers in copies:
        draft.publish(channel, headers)


def _copy_of(intent: Intent) -> dict[str, Any]:
    return {HEADER: f"{intent.run.key} {uuid.uuid4().hex}"}
