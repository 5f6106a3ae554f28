"""Which deliveries of an AMQP channel are still to be settled, and how few frames settle the rest.

One frame can acknowledge all deliveries up to a tag. That spares the broker most of the work of
acknowledging, but must not cover a delivery that somebody still works on; so what is open is
written down here.
"""

from __future__ import annotations

import struct

__all__ = ("Ledger",)

#: A frame with the method basic.ack: type, channel, size, class, method, tag, multiple, end.
_ACK = struct.Struct(">BHIHHQBB")


class Ledger:
    """The deliveries of one channel.

    A channel numbers its deliveries from one, without a gap. A gap means that somebody took a
    delivery past this ledger: from then on everything is acknowledged one by one.
    """

    __slots__ = ("_complete", "_held", "_last", "_open")

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._open: dict[int, None] = {}
        self._held: list[int] = []
        self._last = 0
        self._complete = True

    def delivered(self, tag: int, *, to_settle: bool = True) -> None:
        """Note a delivery.

        - to_settle: whether the broker waits for an acknowledgement of it.
        """
        if tag != self._last + 1:
            if tag == 1:
                self._begin()  # the channel was opened anew
            else:
                self._complete = False
        self._last = tag
        if to_settle:
            self._open[tag] = None

    def settled(self, tag: int, *, multiple: bool = False) -> None:
        """Note that the broker was told about a delivery, or about all up to it."""
        if not multiple:
            self._open.pop(tag, None)
            return
        for earlier in [open_tag for open_tag in self._open if open_tag <= tag or not tag]:
            self._open.pop(earlier, None)

    def hold(self, tag: int) -> bool:
        """Note that a delivery is to be acknowledged with the next frames.

        Returns whether it is the first of them.
        """
        if tag in self._open:
            del self._open[tag]
        else:
            self._complete = False  # the broker shall say what it thinks of it
        self._held.append(tag)
        return len(self._held) == 1

    def frames(self, channel_id: int) -> bytes:
        """Return the frames that acknowledge what is held, and hold nothing any more."""
        held, self._held = self._held, []
        covered = self._covered(held)
        if len(covered) < 2:
            return b"".join([_frame(channel_id, tag) for tag in held])
        rest = [tag for tag in held if tag not in covered]
        return b"".join(
            [
                _frame(channel_id, max(covered), multiple=True),
                *(_frame(channel_id, tag) for tag in rest),
            ]
        )

    def _covered(self, held: list[int]) -> set[int]:
        """Return those of ``held`` with no open delivery before them."""
        if not self._complete:
            return set()
        try:
            first_open = next(iter(self._open), None)
        except RuntimeError:
            return set()  # another thread settles one at this moment
        return {tag for tag in held if first_open is None or tag < first_open}


def _frame(channel_id: int, tag: int, *, multiple: bool = False) -> bytes:
    return _ACK.pack(1, channel_id, 13, 60, 80, tag, multiple, 0xCE)
