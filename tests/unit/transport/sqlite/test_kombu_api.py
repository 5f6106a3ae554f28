"""What kombu builds on a channel works on this one."""

from __future__ import annotations

from queue import Empty
from typing import Any

import pytest
from kombu import Consumer, Exchange, Queue
from kombu.common import Broadcast, drain_consumer, eventloop, maybe_declare
from kombu.exceptions import OperationalError

from taskq.transport import Connection
from taskq.transport.sqlite.errors import DatabaseUnavailable
from tests.unit.transport.sqlite.support import Connect


def test_simple_queues(connect: Connect) -> None:
    connection = connect()
    with connection.SimpleQueue("simple") as queue:
        queue.put({"a": 1})
        assert queue.qsize() == 1
        message = queue.get(timeout=1)
        assert message.payload == {"a": 1}
        message.ack()
        with pytest.raises(Empty):
            queue.get_nowait()


def test_simple_buffers(connect: Connect) -> None:
    connection = connect()
    with connection.SimpleBuffer("buffer") as buffer:
        buffer.put("x")
        assert buffer.get(timeout=1).payload == "x"


def test_broadcast_queues_each_get_a_copy(connect: Connect) -> None:
    received: list[Any] = []
    connections = [connect(), connect()]
    consumers = []
    for connection in connections:
        consumer = Consumer(connection.channel(), [Broadcast("news")], accept=["json"])
        consumer.register_callback(lambda body, message: received.append(body))
        consumer.consume(no_ack=True)
        consumers.append(consumer)
    connect().Producer().publish({"n": 1}, exchange=Exchange("news", "fanout"))
    for connection in connections:
        connection.drain_events(timeout=1)
    assert received == [{"n": 1}, {"n": 1}]


def test_producers_declare_what_they_publish_to(connect: Connect) -> None:
    connection = connect()
    queue = Queue("q", Exchange("ex", "topic"), routing_key="a.*")
    connection.Producer().publish(1, exchange="ex", routing_key="a.b", declare=[queue])
    consumer = Consumer(connection.channel(), [queue], accept=["json"])
    assert [body for body, _ in drain_consumer(consumer, limit=1, timeout=1)] == [1]


def test_a_connection_that_was_lost_is_replaced_while_publishing(connect: Connect) -> None:
    connection = connect()
    queue = Queue("q", Exchange("ex"), routing_key="k")
    maybe_declare(queue, connection.default_channel)
    attempts = []

    def publish(*args: Any, **kwargs: Any) -> None:
        attempts.append(args)
        if len(attempts) == 1:
            raise DatabaseUnavailable("lost")

    producer = connection.Producer()
    connection.ensure(producer, publish, max_retries=2)()
    assert len(attempts) == 2


def test_giving_up_is_an_operational_error(connect: Connect) -> None:
    connection = connect(busy_timeout=0.01)
    holder = connect()
    producer = connection.Producer()
    producer.publish("x", routing_key="q")
    holder.connect()
    policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
    with holder.transport.database.transaction():
        with pytest.raises(OperationalError, match="has been locked"):
            producer.publish("x", routing_key="q", retry=True, retry_policy=policy)


def test_the_url_is_kept(connect: Connect, url: str) -> None:
    connection = connect()
    assert connection.as_uri() == url
    assert connection.clone().as_uri() == url
    assert connection.transport.driver_version()


def test_eventloop_ends_after_its_timeout(connect: Connect) -> None:
    connection = connect()
    connection.channel().basic_consume("q", True, print, "tag")
    with pytest.raises(TimeoutError):
        list(eventloop(connection, limit=1, timeout=0.01))


def test_kombus_own_connection_finds_the_transport(url: str) -> None:
    from kombu import Connection as KombuConnection

    assert issubclass(Connection, KombuConnection)
    with KombuConnection(url) as connection:
        connection.Producer().publish("x", routing_key="q")
        assert connection.channel().basic_get("q").payload == "x"
