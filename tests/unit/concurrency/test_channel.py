"""Packets between the main process and a child, without processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from taskq.concurrency.prefork import channel, frames
from taskq.concurrency.prefork.bodies import MOST_KEPT, BodyFiles, read_body

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_DGRAM], ids=["seqpacket", "dgram"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(channel, "PAIR_TYPE", request.param)
    ends = channel.open_pair()
    yield ends
    for end in ends:
        end.close()


def payload(body: Any = b"", **headers: Any) -> tuple[Any, ...]:
    return ("name", "id", headers, body, "application/json", "utf-8", {}, {})


def test_packets_arrive_one_by_one(pair: Pair) -> None:
    main, child = pair
    for seq in (1, 2):
        channel.send_packet(main, seq, frames.encode_task(seq, frames.EARLY, payload(b"x")))
    assert channel.receive_packet(child) == (1, frames.EARLY, payload(b"x"))
    assert channel.receive_packet(child) == (2, frames.EARLY, payload(b"x"))


def test_unread_packets_can_be_taken_back(pair: Pair) -> None:
    main, child = pair
    for seq in (1, 2, 3):
        channel.send_packet(main, seq, frames.encode_task(seq, frames.LATE, payload()))
    assert channel.receive_packet(child) == (1, frames.LATE, payload())
    assert [channel.steal_seq(child) for _ in range(3)] == [2, 3, None]


def test_payloads_that_marshal_cannot_write_are_pickled(pair: Pair) -> None:
    main, child = pair
    original = payload(b"x", day=date(2026, 1, 2))
    channel.send_packet(main, 1, frames.encode_task(1, frames.LATE, original))
    packet = channel.receive_packet(child)
    assert packet is not None
    _, kind, content = packet
    assert kind == frames.LATE | frames.PICKLED
    assert frames.unpack(kind, content) == original


@pytest.mark.parametrize("headers", [{}, {"day": date(2026, 1, 2)}])
def test_large_bodies_travel_in_files(pair: Pair, headers: dict[str, Any]) -> None:
    main, child = pair
    files = BodyFiles()
    original = payload(os.urandom(500_000), **headers)
    before = len(os.listdir("/proc/self/fd"))
    fd = files.store(original[frames.BODY])
    channel.send_with_body(main, frames.encode_without_body(1, frames.EARLY, original), fd)
    files.release(fd)
    packet = channel.receive_packet(child)
    assert packet is not None
    seq, kind, content = packet
    assert (seq, kind & frames.EARLY) == (1, frames.EARLY)
    assert frames.unpack(kind, content) == original
    files.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_whole_packets_travel_in_files_when_the_rest_is_large(pair: Pair) -> None:
    main, child = pair
    original = payload(b"x", text="x" * 500_000)
    channel.send_packet(main, 1, frames.encode_task(1, frames.LATE, original))
    channel.send_packet(main, 2, frames.encode_task(2, frames.LATE, original))
    assert channel.receive_packet(child) == (1, frames.LATE, original)
    before = len(os.listdir("/proc/self/fd"))
    assert channel.steal_seq(child) == 2
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_socket_says_so(pair: Pair) -> None:
    main, _ = pair
    packet = frames.encode_task(1, frames.LATE, payload(b"x" * 60_000))
    for _ in range(3):
        channel.send_packet(main, 1, packet)

    def send_many() -> None:
        for _ in range(1000):
            channel.send_packet(main, 1, packet)

    with pytest.raises(BlockingIOError):
        send_many()


def test_the_end_of_the_main_process_is_noticed() -> None:
    main, child = channel.open_pair()
    channel.send_packet(main, 1, frames.encode_task(1, frames.EARLY, payload()))
    main.close()
    assert channel.receive_packet(child) == (1, frames.EARLY, payload())
    assert channel.receive_packet(child) is None
    child.close()


def test_what_was_sent_is_read_though_the_main_process_died_with_unread_packets() -> None:
    main, child = channel.open_pair()
    channel.send_packet(main, 1, frames.encode_task(1, frames.EARLY, payload()))
    child.send(frames.encode_reply(0, frames.READY, None, 0.0))
    main.close()
    assert channel.receive_packet(child) == (1, frames.EARLY, payload())
    assert channel.receive_packet(child) is None
    child.close()


def test_body_files_are_used_again_up_to_a_limit() -> None:
    files = BodyFiles()
    fds = [files.store(b"x" * (MOST_KEPT // 2)) for _ in range(3)]
    for fd in fds:
        files.release(fd)
    assert files.store(b"yz") in fds[:2]
    fd = files.store(memoryview(b"abc"))
    assert fd in fds[:2]
    assert read_body(fd, 3) == b"abc"
    files.close()
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
