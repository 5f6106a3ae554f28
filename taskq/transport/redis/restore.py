"""Putting unacknowledged messages back to their lists, each at most once.

Used by the lease (messages of dead owners, of kombu processes past their visibility timeout) and by
the claimer (rejected with requeue, held at close).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from kombu.log import get_logger

from taskq.transport.redis.envelope import mark_redelivered, priority_of
from taskq.transport.redis.keys import Keys, ListNames
from taskq.transport.redis.resp import Argument, pack
from taskq.transport.redis.scripts import script
from taskq.transport.redis.wire import Wire
from taskq.utils.jsontext import encode_json

logger = get_logger(__name__)

#: Messages restored with one call.
BATCH = 100

#: The end of an entry that a claim of ours made: no exchange, and the queue as a JSON string.
_OUR_ENDING = re.compile(rb', "", ("(?:[^"\\\\]|\\\\.)*")\]$')

E_UNREADABLE = (
    "Can't put the unacknowledged message %r in %r back, because it is not what kombu stores (%s). "
    "It stays there, and is tried again after the visibility timeout."
)
E_UNROUTABLE = (
    "Can't put the unacknowledged message %r in %r back, because no queue is bound to exchange %r "
    "with routing key %r. It stays there, and is tried again after the visibility timeout."
)


class Restorer:
    """Knows where unacknowledged messages belong and puts them back.

    - keys, lists: the names of the fleet's keys.
    """

    def __init__(self, keys: Keys, lists: ListNames) -> None:
        self._keys = keys
        self._lists = lists

    def restore(
        self, wire: Wire, tags: Iterable[str], *, redelivered: bool = True, next_up: bool = True
    ) -> int:
        """Put messages back from `unacked` to their queues; return how many it were.

        - wire: a connection that nobody else waits on.
        - tags: of the entries, in the order in which they are to be delivered.
        - redelivered: flag the messages as delivered before.
        - next_up: they are delivered before what waits in the queues, else after it.

        Entries that somebody else removes meanwhile are left to them.
        """
        restored = 0
        ordered = list(tags)
        if next_up:
            ordered.reverse()  # pushed to the end that is taken from: the first goes in last
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            restored += self._restore_batch(
                wire, batch, redelivered=redelivered, push="RPUSH" if next_up else "LPUSH"
            )
        return restored

    def _restore_batch(
        self, wire: Wire, tags: Sequence[str], *, redelivered: bool, push: str
    ) -> int:
        arguments: list[Argument] = [push]
        gone, stuck = [], []
        entries = wire.call(pack("HMGET", self._keys.unacked, *tags))
        for tag, entry in zip(tags, entries, strict=True):
            if entry is None:
                gone.append(tag)
                continue
            try:
                payload, exchange, routing_key = _parse(entry)
            except (ValueError, TypeError, RecursionError) as exc:
                logger.error(E_UNREADABLE, tag, self._keys.unacked, exc)
                stuck.append(tag)
                continue
            lists = self._lists_for(wire, payload, exchange, routing_key)
            if not lists:
                logger.error(E_UNROUTABLE, tag, self._keys.unacked, exchange, routing_key)
                stuck.append(tag)
                continue
            if isinstance(payload, dict):
                if redelivered:
                    mark_redelivered(payload)
                payload = encode_json(payload)
            arguments += [tag, len(lists), *lists, payload]
        self._tidy_index(wire, gone, stuck)
        if len(arguments) == 1:
            return 0
        count: int = script("restore").call(
            wire, [self._keys.unacked, self._keys.unacked_index], arguments
        )
        return count

    def _tidy_index(self, wire: Wire, gone: Sequence[str], stuck: Sequence[str]) -> None:
        """Drop entries without a message from the index; let stuck ones wait for another round."""
        commands = []
        if gone:
            commands.append(pack("ZREM", self._keys.unacked_index, *gone))
        if stuck:
            now = int(time.time())
            scores = [part for tag in stuck for part in (now, tag)]
            commands.append(pack("ZADD", self._keys.unacked_index, "XX", *scores))
        if commands:
            wire.call_many(b"".join(commands), len(commands))

    def _lists_for(self, wire: Wire, payload: Any, exchange: str, routing_key: str) -> list[str]:
        """Return the lists that a message sent to this exchange with this key belongs in."""
        priority = priority_of(payload)
        if not exchange:
            return [self._lists.of_priority(routing_key, priority)]
        bindings = wire.call(pack("SMEMBERS", self._keys.bindings + exchange))
        queues = {
            queue
            for key, pattern, queue in (
                binding.decode().split(self._lists.separator) for binding in bindings
            )
            if (re.match(pattern, routing_key) if pattern else key == routing_key)
        }
        return [self._lists.of_priority(queue, priority) for queue in queues]


def _parse(entry: bytes) -> tuple[Any, str, str]:
    """Return payload, exchange and routing key of an entry of `unacked`.

    A payload that is no JSON object is returned as the bytes it is, if the claim was ours.
    """
    try:
        payload, exchange, routing_key = json.loads(entry)
        if isinstance(payload, dict):
            return payload, exchange, routing_key
    except (ValueError, TypeError, RecursionError):
        if not _OUR_ENDING.search(entry):
            raise
    ending = _OUR_ENDING.search(entry)
    if ending is None:
        raise ValueError("no envelope")
    return entry[1 : ending.start()], "", json.loads(ending[1])
