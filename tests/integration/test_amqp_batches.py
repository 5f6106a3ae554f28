"""Many messages for RabbitMQ in one go: all are there afterwards, whatever connections do."""

from __future__ import annotations

import socket
import threading
from struct import error as StructError
from urllib.parse import urlsplit

import pytest
from amqp.exceptions import MessageNacked, NotFound, RecoverableConnectionError
from kombu import Queue

from taskq import TaskQ
from taskq.transport import Connection, confirming
from tests.chaos.proxy import Proxy


@pytest.fixture
def proxy(amqp_url):
    """The network between us and the broker, and the broker's URL through it."""
    at = urlsplit(amqp_url)
    proxy = Proxy((at.hostname, at.port))
    yield proxy, amqp_url.replace(f":{at.port}", f":{proxy.port}")
    proxy.close()


def numbers_in(url, queue):
    with Connection(url) as connection:
        bound, numbers = queue(connection.default_channel), []
        while (message := bound.get(no_ack=True)) is not None:
            numbers.append(message.payload[0])
        return numbers


def prepared(channel, queue, count):
    """Messages of more than a kilobyte each."""
    return [
        (
            channel.prepare_message(
                f'[{number}, "{"x" * 1000}"]', 0, "application/json", "utf-8", {}, {}
            ),
            "",
            queue.name,
        )
        for number in range(count)
    ]


def test_all_are_stored_when_it_returns(amqp_url, queue):
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        for _ in range(2):
            messages = prepared(channel, queue, 500)
            channel.basic_publish_many(messages)
            assert messages == []
            assert queue(channel).queue_declare(passive=True).message_count == 500
            assert numbers_in(amqp_url, queue) == list(range(500))


def test_they_are_written_in_large_pieces(amqp_url, queue):
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        channel.basic_publish_many(prepared(channel, queue, 2))
        transport = connection.connection.transport
        writes, write = [], transport._write
        transport._write = lambda data: writes.append(len(data)) or write(data)
        channel.basic_publish_many(prepared(channel, queue, 1000))
        assert len(writes) < 25
        # Others write at once again.
        channel.basic_publish(*prepared(channel, queue, 1)[0])
        assert len(writes) < 26


def test_a_connection_that_breaks_amidst_them(amqp_url, queue, proxy):
    """What was confirmed is not sent again; what was not, is there once at least."""
    network, url = proxy
    app = TaskQ("batches", broker=url, set_as_current=False, task_default_queue=queue.name)
    app.conf.task_queues = [queue]
    app.task(lambda number, text: None, name="nothing")
    with app.producer_pool.acquire(block=True) as producer:
        queue(producer.channel).queue_declare(passive=True)
        network.hold()

        def break_it():
            network.cut()
            network.release()

        breaker = threading.Timer(0.5, break_it)
        breaker.start()
        with app.amqp.batch(producer):
            for number in range(3000):
                app.tasks["nothing"].apply_async((number, "x" * 1000), producer=producer)
    breaker.join()
    app.close()
    assert {number for number, _ in numbers_in(amqp_url, queue)} == set(range(3000))


def test_a_broker_that_says_nothing(amqp_url, queue, proxy, monkeypatch):
    monkeypatch.setattr(confirming, "PATIENCE", 0.3)
    network, url = proxy
    with Connection(url) as connection:
        channel = connection.default_channel
        channel.basic_publish_many(prepared(channel, queue, 2))
        network.hold()
        messages = prepared(channel, queue, 5)
        with pytest.raises(RecoverableConnectionError, match="not confirmed 5 messages"):
            channel.basic_publish_many(messages)
        assert len(messages) == 5
        network.cut()


def test_what_the_broker_refuses_stays_in_the_list(amqp_url, unique):
    queue = Queue(
        unique,
        durable=False,
        queue_arguments={"x-max-length": 3, "x-overflow": "reject-publish"},
    )
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        queue(channel).declare()
        messages = prepared(channel, queue, 10)
        with pytest.raises(MessageNacked):
            channel.basic_publish_many(messages)
        assert 0 < len(messages) <= 7
        stored = queue(channel).queue_declare(passive=True).message_count
        assert stored + len(messages) == 10
        queue(channel).delete()


def test_an_error_leaves_the_connection_usable(amqp_url, queue):
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        message = prepared(channel, queue, 1)[0][0]
        with pytest.raises(NotFound):
            channel.basic_publish_many([(message, "no-such-exchange", "")] * 3)
        messages = prepared(channel, queue, 3)
        too_long = [*messages, (message, "", "x" * 300), *prepared(channel, queue, 2)]
        for _ in range(3):
            with pytest.raises(StructError):
                channel.basic_publish_many(list(too_long))
        # Number 0 is the connection's own.
        assert set(connection.connection.channels) == {0, channel.channel_id}
        channel.basic_publish_many(messages)
        assert numbers_in(amqp_url, queue)[-3:] == [0, 1, 2]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_broker_may_take_its_time_to_read(amqp_url):
    with Connection(amqp_url) as connection:
        sock = connection.connection.transport.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    options = {"socket_settings": {socket.TCP_USER_TIMEOUT: 5000}}
    with Connection(amqp_url, transport_options=options) as connection:
        sock = connection.connection.transport.sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
