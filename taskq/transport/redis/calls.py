"""The calls that settle and claim messages: what goes out, and what to remember until the reply.

Made by the claimer for its connection, and by the keeper for messages whose channel is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskq.transport.redis.consumers import NO_LISTS, QueueList, Selection
from taskq.transport.redis.resp import Argument, pack_argument
from taskq.transport.redis.scripts import Script, script

if TYPE_CHECKING:
    from taskq.transport.redis.lease import Lease, Parking

#: Most acknowledgements or parkings sent with one call: a Lua script can unpack a few thousand.
SETTLE_BATCH = 1000
#: Most messages rewritten with one call, which has them whole.
REWRITE_BATCH = 100


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a script whose reply has not come yet.

    - keys, arguments: packed, and how many there are.
    - acks: the tags it acknowledges.
    - parks: the messages it parks, by tag.
    - rewrites: the entries it puts in the place of held messages, by tag.
    - owner, first, wanted, lists: of a claim; `wanted` is 0 for other calls.
    """

    script: Script
    keys: bytes
    key_count: int
    arguments: bytes
    argument_count: int
    acks: Sequence[str] = ()
    parks: dict[str, Parking] | None = None
    rewrites: dict[str, bytes] | None = None
    owner: str = ""
    first: int = 0
    wanted: int = 0
    lists: Sequence[QueueList] = ()

    def pack(self, *, with_text: bool = False) -> bytes:
        """Return the bytes to send."""
        return self.script.pack_parts(
            self.keys, self.key_count, self.arguments, self.argument_count, with_text=with_text
        )


def claim(
    lease: Lease | None,
    places: bytes,
    selection: Selection = NO_LISTS,
    wanted: int = 0,
) -> Call:
    """Return the call that takes acknowledgements out of the lease and claims messages.

    - lease: whose acknowledgements and name it carries; None when nothing is kept.
    - places: `claim_places`.
    - selection, wanted: where to claim from, and how many messages.
    """
    acks: list[str] = []
    owner, first, fence = "", 0, ""
    if lease is not None:
        acks = lease.take_acks(SETTLE_BATCH)
        owner, first = lease.owner, lease.take_numbers(wanted)
        fence = lease.options.keys.fence + owner
    values: list[Argument] = [owner, int(time.time()), wanted, first, len(acks), *acks]
    return Call(
        script("claim"),
        pack_argument(fence) + selection.names,
        1 + len(selection.lists),
        places + b"".join(map(pack_argument, values)) + selection.endings,
        2 + len(values) + len(selection.lists),
        acks=acks,
        owner=owner,
        first=first,
        wanted=wanted,
        lists=selection.lists,
    )


def claim_places(unacked: str, unacked_index: str) -> bytes:
    """Return the packed names of the keys that claims move messages to."""
    return pack_argument(unacked) + pack_argument(unacked_index)


def park(lease: Lease) -> Call:
    """Return the call that parks messages, which it takes out of the lease."""
    parks = lease.take_parks(SETTLE_BATCH)
    keys, now = lease.options.keys, time.monotonic()
    values: list[Argument] = []
    for tag, parking in parks.items():
        values += [tag, f"{parking.due - now:.6f}", parking.queue_list, parking.ending]
    names = [keys.unacked, keys.unacked_index, keys.parked, keys.parked_messages]
    return Call(
        script("park"),
        _joined(names),
        len(names),
        _joined(values),
        len(values),
        parks=parks,
    )


def rewrite(lease: Lease) -> Call:
    """Return the call that rewrites held messages as the lease says."""
    rewrites = lease.take_rewrites(REWRITE_BATCH)
    values = [part for entry in rewrites.items() for part in entry]
    return Call(
        script("rewrite"),
        pack_argument(lease.options.keys.unacked),
        1,
        _joined(values),
        len(values),
        rewrites=rewrites,
    )


def _joined(values: Iterable[Argument]) -> bytes:
    return b"".join(map(pack_argument, values))
