"""Fanout exchanges and remote control over Redis, among ourselves and with kombu processes."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from kombu import Connection as KombuConnection
from kombu import Consumer, Exchange, Queue
from kombu.pidbox import Mailbox
from redis import Redis

from taskq.transport import Connection
from tests.integration.redis_support import Receiver

FANOUT = Exchange("news", type="fanout")
PAIRS = [(Connection, Connection), (Connection, KombuConnection), (KombuConnection, Connection)]


def subscribe(connection, got, name="sub", **options):
    consumer = Consumer(
        connection.channel(),
        [Queue(name, FANOUT, auto_delete=True)],
        callbacks=[lambda body, message: got.append(body)],
        **{"no_ack": True, **options},
    )
    consumer.consume()
    return consumer


def drain_until(connection, condition, timeout=10):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=0.1)


@pytest.mark.parametrize(("receiving", "sending"), PAIRS)
def test_everybody_gets_a_copy(redis_url, receiving, sending):
    with receiving(redis_url) as one, receiving(redis_url) as two, sending(redis_url) as sender:
        first, second = [], []
        subscribe(one, first, "first")
        subscribe(two, second, "second")
        for connection in (one, two):
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.2)  # subscribes
        sender.Producer().publish({"n": 1}, exchange=FANOUT, declare=[FANOUT])
        drain_until(one, lambda: first)
        drain_until(two, lambda: second)
        assert first == second == [{"n": 1}]


@pytest.mark.parametrize(("serving", "asking"), PAIRS)
def test_remote_control(redis_url, serving, asking):
    stop = threading.Event()

    def serve(connection):
        mailbox = Mailbox("test", type="fanout", accept=["json"])
        node = mailbox.Node("node@host", channel=connection.channel())
        node.handlers["double"] = lambda state, n: n * 2
        node.listen(callback=lambda body, message: node.handle_message(body, message))
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.05)

    with serving(redis_url) as server, asking(redis_url) as client:
        thread = threading.Thread(target=serve, args=[server])
        thread.start()
        try:
            time.sleep(0.3)
            mailbox = Mailbox("test", type="fanout", accept=["json"])(client)
            started = time.monotonic()
            replies = mailbox.multi_call("double", {"n": 21}, timeout=5, limit=1)
            assert replies == [{"node@host": 42}]
            assert time.monotonic() - started < 3
        finally:
            stop.set()
            thread.join()


def test_in_an_event_loop_beside_a_queue(redis_url):
    receiver = Receiver(redis_url, "q", ack=True)
    got = []
    subscribe(receiver.connection, got)
    receiver.turn(5)
    with Connection(redis_url) as sender:
        producer = sender.Producer()
        for number in range(3):
            producer.publish(number, exchange=FANOUT, declare=[FANOUT], serializer="json")
            producer.publish(number, exchange="", routing_key="q", serializer="json")
        receiver.run_until(lambda: len(got) == 3 and len(receiver.messages) == 3)
    receiver.close()


def test_subscription_survives_a_killed_connection(redis_url):
    receiver = Receiver(redis_url)
    got = []
    subscribe(receiver.connection, got)
    receiver.turn(5)
    with Redis.from_url(redis_url) as client, Connection(redis_url) as sender:
        client.client_kill_filter(_type="pubsub")
        receiver.turn(10)
        sender.Producer().publish(1, exchange=FANOUT, declare=[FANOUT], serializer="json")
        receiver.run_until(lambda: got == [1])
    receiver.close()


def test_cancelled_subscription_ends_and_leaves_nothing(redis_url):
    receiver = Receiver(redis_url)
    got = []
    consumer = subscribe(receiver.connection, got)
    receiver.turn(5)
    with Redis.from_url(redis_url) as client, Connection(redis_url) as sender:
        assert client.pubsub_numpat() == 1
        consumer.cancel()
        receiver.turn(5)
        assert client.pubsub_numpat() == 0
        sender.Producer().publish(1, exchange=FANOUT, declare=[FANOUT], serializer="json")
        receiver.turn(5)
        assert got == []
        consumer.channel.close()
        receiver.close()
        assert not client.exists("_kombu.binding.news")


def test_acknowledged_fanout_message(redis_url):
    """What a broadcast brings is kept by no server; a requeued message is delivered again."""
    with Connection(redis_url) as connection, Redis.from_url(redis_url) as client:
        seen = []

        def on_message(message):
            seen.append(message)
            if len(seen) == 1:
                message.requeue()
            else:
                message.ack()

        consumer = Consumer(
            connection.channel(), [Queue("b", FANOUT, auto_delete=True)], on_message=on_message
        )
        consumer.consume()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.2)
        connection.Producer().publish(1, exchange=FANOUT, serializer="json")
        drain_until(connection, lambda: len(seen) == 2)
        assert seen[1].headers["redelivered"] is True
        assert consumer.channel.qos.count == 0
        assert not client.exists("unacked", "b")
