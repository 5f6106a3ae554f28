"""Few frames acknowledge many deliveries, and never one that is open."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.transport.ledger import Ledger

FRAME = struct.Struct(">BHIHHQBB")


def parsed(data):
    """Return tag and "multiple" of each frame."""
    assert len(data) % FRAME.size == 0
    frames = [FRAME.unpack_from(data, at) for at in range(0, len(data), FRAME.size)]
    for kind, channel, size, class_id, method, _, _, end in frames:
        assert (kind, channel, size, class_id, method, end) == (1, 7, 13, 60, 80, 0xCE)
    return [(frame[5], bool(frame[6])) for frame in frames]


class Broker:
    """What the broker at the other end thinks of it."""

    def __init__(self):
        self.unacknowledged = []

    def read(self, frames):
        for tag, multiple in frames:
            settled = [t for t in self.unacknowledged if t == tag or (multiple and t < tag)]
            # Otherwise it closes the channel.
            assert settled, f"{tag} is not to be acknowledged"
            for each in settled:
                self.unacknowledged.remove(each)


def test_a_run_from_the_first_is_one_frame():
    ledger = Ledger()
    for tag in range(1, 6):
        ledger.delivered(tag)
    assert [ledger.hold(tag) for tag in (2, 1, 3)] == [True, False, False]
    assert parsed(ledger.frames(7)) == [(3, True)]
    assert ledger.frames(7) == b""


def test_an_open_one_is_not_covered():
    ledger = Ledger()
    for tag in range(1, 6):
        ledger.delivered(tag)
    for tag in (1, 2, 4, 5):
        ledger.hold(tag)
    assert parsed(ledger.frames(7)) == [(2, True), (4, False), (5, False)]
    ledger.settled(3)
    ledger.delivered(6)
    ledger.delivered(7, to_settle=False)
    ledger.delivered(8)
    ledger.hold(6)
    ledger.hold(8)
    assert parsed(ledger.frames(7)) == [(8, True)]


@pytest.mark.parametrize("known", [(1, 3), (2, 3)])
def test_a_delivery_past_the_ledger_ends_it(known):
    ledger = Ledger()
    for tag in known:
        ledger.delivered(tag)
        ledger.hold(tag)
    assert parsed(ledger.frames(7)) == [(tag, False) for tag in known]


def test_a_channel_that_is_opened_anew_begins_again():
    ledger = Ledger()
    for tag in (1, 2, 4):
        ledger.delivered(tag)
    ledger.hold(4)
    ledger.delivered(1)
    ledger.delivered(2)
    ledger.hold(1)
    ledger.hold(2)
    assert parsed(ledger.frames(7)) == [(2, True)]


def test_what_is_acknowledged_twice_is_left_to_the_broker():
    ledger = Ledger()
    ledger.delivered(1)
    ledger.delivered(2)
    for tag in (1, 1, 2):
        ledger.hold(tag)
    assert parsed(ledger.frames(7)) == [(1, False), (1, False), (2, False)]


@given(st.data())
def test_the_broker_never_objects(data):
    ledger, broker, last, held = Ledger(), Broker(), 0, set()
    for _ in range(data.draw(st.integers(1, 60))):
        free = [tag for tag in broker.unacknowledged if tag not in held]
        step = data.draw(st.sampled_from("dddhhhhsfnm"))
        if step in "dn":
            last += 1
            ledger.delivered(last, to_settle=step == "d")
            if step == "d":
                broker.unacknowledged.append(last)
        elif step == "h" and free:
            tag = data.draw(st.sampled_from(free))
            ledger.hold(tag)
            held.add(tag)
        elif step in "sm" and free:
            # Whatever is written goes behind the frames of what is held.
            broker.read(parsed(ledger.frames(7)))
            held.clear()
            tag = data.draw(st.sampled_from(free))
            broker.read([(tag, step == "m")])
            ledger.settled(tag, multiple=step == "m")
        elif step == "f":
            broker.read(parsed(ledger.frames(7)))
            assert not held & set(broker.unacknowledged)
            held.clear()
    broker.read(parsed(ledger.frames(7)))
    assert not held & set(broker.unacknowledged)
    assert set(ledger._open) == set(broker.unacknowledged)
