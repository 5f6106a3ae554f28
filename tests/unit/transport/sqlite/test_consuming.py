"""Consumers: batches, prefetch, fairness, waiting; with `drain_events` and in an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kombu.asynchronous import Hub

from taskq.transport.sqlite import bell, transport
from taskq.transport.sqlite.inotify import InotifyUnavailable
from tests.unit.transport.sqlite.support import Connect, bodies, message, publish


class Inbox:
    """Consumes from queues and keeps the messages."""

    def __init__(self, connection: Any, *queues: str, prefetch: int = 0, no_ack: bool = False):
        self.messages: list[Any] = []
        self.arrivals: list[float] = []
        self.channel = connection.channel()
        self.channel.basic_qos(0, prefetch)
        for queue in queues or ("q",):
            self.channel.basic_consume(queue, no_ack, self.receive, f"tag-{queue}")

    def receive(self, received: Any) -> None:
        self.messages.append(received)
        self.arrivals.append(time.time())

    @property
    def bodies(self) -> list[bytes]:
        return [each.body for each in self.messages]


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing looks again after a second: what arrives was told of."""
    monkeypatch.setattr(bell, "LONGEST_WAIT", 600.0)
    monkeypatch.setattr(transport, "LONGEST_WAIT", 600.0)


def run(hub: Hub, until: Callable[[], Any], timeout: float = 20.0) -> None:
    """Turn the loop until a condition holds."""
    deadline = time.monotonic() + timeout
    while not until():
        assert time.monotonic() < deadline, "the condition never became true"
        hub.run_once()


def drain(connection: Any, count: int) -> None:
    for _ in range(count):
        connection.drain_events(timeout=2)


def test_draining_delivers_one_message_at_a_time(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection)
    for i in range(3):
        publish(inbox.channel, b"%d" % i)
    drain(connection, 1)
    assert inbox.bodies == [b"0"]
    drain(connection, 2)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    assert inbox.bodies == [b"0", b"1", b"2"]


def test_draining_without_a_prefetch_count_takes_no_more_than_it_delivers(
    connect: Connect,
) -> None:
    one, two = connect(), connect()
    first, second = Inbox(one), Inbox(two)
    publish(first.channel, b"a")
    publish(first.channel, b"b")
    drain(one, 1)
    drain(two, 1)
    assert (first.bodies, second.bodies) == ([b"a"], [b"b"])


def test_the_prefetch_count_limits_what_is_held(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection, prefetch=2)
    for i in range(4):
        publish(inbox.channel, b"%d" % i)
    drain(connection, 2)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.01)
    inbox.messages[0].ack()
    drain(connection, 1)
    assert inbox.bodies == [b"0", b"1", b"2"]


def test_cancelling_returns_what_was_not_shown_as_new(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection, prefetch=10)
    for i in range(3):
        publish(inbox.channel, b"%d" % i)
    drain(connection, 1)
    inbox.channel.basic_cancel("tag-q")
    other = connect().channel()
    again = other.basic_get("q")
    assert again.body == b"1"
    assert "redelivered" not in again.headers


@pytest.mark.usefixtures("no_second_look")
def test_waiting_ends_when_another_connection_publishes(connect: Connect) -> None:
    connection, sender = connect(), connect().channel()
    inbox = Inbox(connection)
    timer = threading.Timer(0.1, publish, [sender])
    timer.start()
    connection.drain_events(timeout=10)
    assert inbox.bodies == [b"x"]
    timer.join()


@pytest.mark.usefixtures("no_second_look")
def test_waiting_ends_when_a_delayed_message_is_due(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection)
    moment = datetime.now(UTC) + timedelta(seconds=0.2)
    publish(inbox.channel, headers={"eta": moment.isoformat()})
    connection.drain_events(timeout=10)
    assert time.time() >= moment.timestamp()
    assert inbox.bodies == [b"x"]


def test_priority_counts_across_queues_and_equals_take_turns(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection, "a", "b", prefetch=100)
    for i in range(3):
        publish(inbox.channel, b"a%d" % i, queue="a", priority=5)
    for i in range(3):
        publish(inbox.channel, b"b%d" % i, queue="b", priority=5)
    publish(inbox.channel, b"urgent", queue="b", priority=0)
    drain(connection, 7)
    assert inbox.bodies[0] == b"urgent"
    assert [body[:1] for body in inbox.bodies[1:]] in (
        [*b"ababab"],
        [b"a", b"b"] * 3,
        [b"b", b"a"] * 3,
    )


def test_a_long_queue_does_not_starve_another(connect: Connect) -> None:
    connection = connect()
    inbox = Inbox(connection, "long", "short", prefetch=2)
    inbox.channel.basic_publish_many(
        [(message(inbox.channel, b"long"), "", "long") for _ in range(50)]
    )
    publish(inbox.channel, b"short", queue="short")
    drain(connection, 2)
    assert b"short" in inbox.bodies


@pytest.mark.parametrize("strategy", ["priority", "sorted"])
def test_queues_in_a_fixed_order(connect: Connect, strategy: str) -> None:
    connection = connect(queue_order_strategy=strategy)
    queues = ["b", "a"] if strategy == "priority" else ["a", "b"]
    inbox = Inbox(connection, "b", "a", prefetch=1)
    for _ in range(2):
        publish(inbox.channel, b"a", queue="a")
        publish(inbox.channel, b"b", queue="b")
    for _ in range(4):
        drain(connection, 1)
        inbox.messages[-1].ack()
    first, second = (queue.encode() for queue in queues)
    assert inbox.bodies == [first, second, first, second] or inbox.bodies == [
        first,
        first,
        second,
        second,
    ]


def test_in_a_loop_all_that_fits_is_delivered(connect: Connect, hub: Hub) -> None:
    connection = connect()
    inbox = Inbox(connection, prefetch=10)
    for i in range(15):
        publish(inbox.channel, b"%d" % i)
    connection.register_with_event_loop(hub)
    run(hub, lambda: len(inbox.messages) >= 10)
    assert len(inbox.messages) == 10
    for each in inbox.messages[:10]:
        each.ack()
    run(hub, lambda: len(inbox.messages) == 15)


def test_in_a_loop_acknowledging_at_once_keeps_messages_coming(connect: Connect, hub: Hub) -> None:
    connection = connect()
    channel = connection.channel()
    channel.basic_qos(0, 2)
    done = []

    def work(received: Any) -> None:
        done.append(received.body)
        received.ack()

    channel.basic_consume("q", False, work, "tag")
    channel.basic_publish_many([(message(channel), "", "q") for _ in range(300)])
    connection.register_with_event_loop(hub)
    run(hub, lambda: len(done) == 300)
    channel.flush()
    channel.close()
    assert bodies(connect().channel()) == []


def test_in_a_loop_flush_writes_acknowledgements(connect: Connect, hub: Hub) -> None:
    connection = connect()
    inbox = Inbox(connection)
    publish(inbox.channel)
    connection.register_with_event_loop(hub)
    run(hub, lambda: inbox.messages)
    inbox.messages[0].ack()
    database = connection.transport.database
    assert database.read("SELECT count(*) FROM message") == [(1,)]
    inbox.channel.flush()
    assert database.read("SELECT count(*) FROM message") == [(0,)]


@pytest.mark.usefixtures("no_second_look")
def test_in_a_loop_a_publisher_wakes_it(connect: Connect, hub: Hub) -> None:
    connection, sender = connect(), connect().channel()
    inbox = Inbox(connection)
    connection.register_with_event_loop(hub)
    hub.run_once()
    timer = threading.Timer(0.1, publish, [sender])
    timer.start()
    run(hub, lambda: inbox.messages)
    timer.join()


@pytest.mark.usefixtures("no_second_look")
def test_in_a_loop_delayed_messages_wake_it(connect: Connect, hub: Hub) -> None:
    connection = connect()
    inbox = Inbox(connection)
    connection.register_with_event_loop(hub)
    hub.run_once()
    moment = datetime.now(UTC) + timedelta(seconds=0.3)
    publish(inbox.channel, headers={"eta": moment.isoformat()})
    run(hub, lambda: inbox.messages)
    assert inbox.arrivals[0] >= moment.timestamp()


def test_in_a_loop_with_a_full_prefetch_due_messages_cause_no_spinning(
    connect: Connect, hub: Hub
) -> None:
    connection = connect()
    inbox = Inbox(connection, prefetch=1)
    connection.register_with_event_loop(hub)
    moment = datetime.now(UTC) + timedelta(seconds=0.05)
    publish(inbox.channel, b"first")
    publish(inbox.channel, b"later", headers={"eta": moment.isoformat()})
    run(hub, lambda: inbox.messages)
    turns, deadline = 0, time.monotonic() + 0.5
    while time.monotonic() < deadline:
        hub.run_once()
        turns += 1
    assert turns < 20
    inbox.messages[0].ack()
    run(hub, lambda: len(inbox.messages) == 2)


def test_in_a_loop_a_failing_callback_loses_nothing(connect: Connect, hub: Hub) -> None:
    connection = connect()
    channel = connection.channel()
    got: list[bytes] = []

    def fail_on_first(received: Any) -> None:
        got.append(received.body)
        if len(got) == 1:
            raise RuntimeError("bug")

    channel.basic_consume("q", True, fail_on_first, "tag")
    for i in range(3):
        publish(channel, b"%d" % i)
    connection.register_with_event_loop(hub)
    with pytest.raises(RuntimeError):
        run(hub, lambda: len(got) == 3)
    run(hub, lambda: len(got) == 3)
    assert got == [b"0", b"1", b"2"]


def test_closing_a_connection_leaves_the_loop(connect: Connect, hub: Hub) -> None:
    connection = connect()
    Inbox(connection)
    connection.register_with_event_loop(hub)
    hub.run_once()
    connection.release()
    assert not hub.on_tick
    assert not hub.readers


@pytest.mark.usefixtures("no_second_look")
def test_polling_where_there_is_no_inotify(
    connect: Connect, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable() -> None:
        raise InotifyUnavailable("used up")

    monkeypatch.setattr(bell, "Inotify", unavailable)
    waiting, looping, sender = connect(), connect(), connect().channel()
    inbox = Inbox(waiting, "a")
    timer = threading.Timer(0.1, publish, [sender], {"queue": "a"})
    timer.start()
    waiting.drain_events(timeout=5)
    assert inbox.bodies == [b"x"]
    timer.join()
    inbox = Inbox(looping, "b")
    looping.register_with_event_loop(hub)
    hub.run_once()
    timer = threading.Timer(0.1, publish, [sender], {"queue": "b"})
    timer.start()
    run(hub, lambda: inbox.messages)
    timer.join()


def test_a_full_prefetch_does_not_hold_up_consumers_without_acknowledgement(
    connect: Connect, hub: Hub
) -> None:
    connection = connect()
    inbox = Inbox(connection, "tasks", prefetch=1)
    inbox.channel.basic_consume("events", True, inbox.receive, "no-ack")
    connection.register_with_event_loop(hub)
    for body, queue in ((b"t1", "tasks"), (b"t2", "tasks"), (b"e1", "events")):
        publish(inbox.channel, body, queue=queue)
    run(hub, lambda: len(inbox.messages) == 2)
    assert sorted(inbox.bodies) == [b"e1", b"t1"]
    publish(inbox.channel, b"e2", queue="events")
    run(hub, lambda: len(inbox.messages) == 3)
    next(each for each in inbox.messages if each.body == b"t1").ack()
    run(hub, lambda: len(inbox.messages) == 4)
    assert inbox.bodies[2:] == [b"e2", b"t2"]
