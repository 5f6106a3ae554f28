"""The pools' view of the event loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from kombu.asynchronous import Hub

from taskq.concurrency.loop import PoolLoop


@pytest.fixture
def loop() -> Iterator[PoolLoop]:
    loop = PoolLoop()
    loop.open()
    yield loop
    loop.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


def test_calls_readers_without_a_hub(loop: PoolLoop) -> None:
    reader, writer = os.pipe()
    got: list[bytes] = []
    loop.add_reader(reader, lambda: got.append(os.read(reader, 10)))
    loop.turn(0)
    assert got == []
    os.write(writer, b"x")
    loop.turn(5)
    assert got == [b"x"]
    loop.remove_reader(reader)
    os.write(writer, b"y")
    loop.turn(0)
    assert got == [b"x"]
    os.close(reader)
    os.close(writer)


def test_calls_alarms_in_order_and_not_cancelled_ones(loop: PoolLoop) -> None:
    fired: list[str] = []
    loop.call_later(0.02, lambda: fired.append("second"))
    loop.call_later(0.01, lambda: fired.append("first"))
    loop.call_later(0.0, lambda: fired.append("never")).cancel()
    while len(fired) < 2:
        loop.turn(5)
    assert fired == ["first", "second"]


def test_wakes_up_from_another_thread(loop: PoolLoop) -> None:
    woken: list[bool] = []
    loop.on_wake(lambda: woken.append(True))
    thread = threading.Timer(0.02, lambda: [loop.wake() for _ in range(5)])
    thread.start()
    loop.turn(10)
    thread.join()
    loop.turn(0)
    assert woken


def test_an_alarm_set_after_the_poll_was_planned_is_in_time(loop: PoolLoop, hub: Hub) -> None:
    """The hub fixes the length of its poll before it calls ``on_tick``."""
    fired: list[float] = []
    armed: list[bool] = []

    def fire() -> None:
        fired.append(time.monotonic())
        loop.wake()

    def tick() -> None:
        if not armed:
            armed.append(True)
            loop.call_later(0.05, fire)

    hub.call_later(60, lambda: None)
    loop.attach(hub, tick)
    started = time.monotonic()
    while not fired:
        hub.run_once()
    assert fired[0] - started < 3


def test_survives_a_reset_of_the_hub(loop: PoolLoop, hub: Hub) -> None:
    reader, writer = os.pipe()
    got: list[bytes] = []
    ticks: list[bool] = []

    def tick() -> None:
        ticks.append(True)

    loop.add_reader(reader, lambda: got.append(os.read(reader, 10)))
    loop.attach(hub, tick)
    hub.reset()
    loop.attach(hub, tick)
    os.write(writer, b"x")
    while not got:
        hub.run_once()
    assert ticks
    assert hub.on_tick == {tick}
    os.close(writer)
    os.close(reader)
