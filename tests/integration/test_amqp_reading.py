"""AMQP in an event loop: frames are read ahead and acknowledgements held, and none is left."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
from amqp import Message as AmqpMessage
from kombu import Consumer
from kombu.asynchronous import Hub

from taskq.transport import Connection
from tests.chaos.proxy import Proxy

PATIENCE = 30.0


def turn_until(hub, arrived, count):
    """Turn a hub until so many are in a list; return its loop, to turn it further or close it."""
    loop, deadline = hub.create_loop(), time.monotonic() + PATIENCE
    while len(arrived) < count:
        assert time.monotonic() < deadline, f"{len(arrived)} of {count} arrived"
        next(loop)
    return loop


def publish(url, queue, count, size=10):
    with Connection(url) as connection:
        producer = connection.Producer()
        for number in range(count):
            producer.publish([number, "x" * size], exchange="", routing_key=queue.name)


def receive(url, queue, count, *, prefetch=0, on_message=None):
    """Return the numbers of so many messages, taken in a hub, and how often the socket was read."""
    hub, numbers = Hub(), []

    def take(body, message):
        numbers.append(body[0])
        message.ack()
        if on_message is not None:
            on_message(connection)

    with Connection(url) as connection:
        channel = connection.default_channel
        channel.basic_qos(0, prefetch, False)
        connection.register_with_event_loop(hub)
        transport = connection.connection.transport
        reads, recv = [], transport._quick_recv
        transport._quick_recv = lambda size: reads.append(size) or recv(size)
        with Consumer(channel, [queue(channel)], callbacks=[take], accept=["json"]):
            loop = turn_until(hub, numbers, count)
            loop.close()
            hub.close()
    return numbers, len(reads)


def test_many_messages_are_read_at_once(amqp_url, queue):
    publish(amqp_url, queue, 500)
    numbers, reads = receive(amqp_url, queue, 500)
    assert numbers == list(range(500))
    assert reads < 500  # three frames each


def test_what_comes_behind_an_answer_is_handled(amqp_url, queue):
    publish(amqp_url, queue, 100)

    def ask(connection):
        # Waits for the broker's answer, and reads the messages before and behind it on the way.
        queue(connection.default_channel).queue_declare(passive=True)

    numbers, _ = receive(amqp_url, queue, 100, prefetch=5, on_message=ask)
    assert sorted(numbers) == list(range(100))


@pytest.mark.parametrize("size", [20_000, 300_000])
def test_large_messages_arrive_whole(amqp_url, queue, size):
    publish(amqp_url, queue, 20, size)
    numbers, _ = receive(amqp_url, queue, 20, prefetch=3)
    assert numbers == list(range(20))


def test_acknowledgements_of_a_turn_are_one_write(amqp_url, queue):
    publish(amqp_url, queue, 300)
    hub, messages = Hub(), []
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        connection.register_with_event_loop(hub)
        transport = connection.connection.transport
        writes, write = [], transport._write
        with Consumer(channel, [queue(channel)], on_message=messages.append):
            transport._write = lambda data: writes.append(len(data)) or write(data)
            loop = turn_until(hub, messages, 300)
            for message in messages[:200]:
                message.ack()
            assert writes == []
            channel.write_acks()
            # In one frame.
            assert writes == [21]
            for message in messages[200:299]:
                message.ack()
            next(loop)  # the turn writes by itself
            assert len(writes) == 2
            messages[299].ack()
            # Whatever else is written goes behind them.
            assert queue(channel).queue_declare(passive=True).message_count == 0
            loop.close()
            hub.close()
    with Connection(amqp_url) as connection:
        # Nothing came back when the connection was closed.
        assert queue(connection.default_channel).get() is None


def test_one_frame_acknowledges_many_and_none_that_is_open(amqp_url, queue):
    publish(amqp_url, queue, 10)
    hub, messages = Hub(), []
    with Connection(amqp_url) as connection:
        channel = connection.default_channel
        connection.register_with_event_loop(hub)
        first = queue(channel).get()
        with Consumer(channel, [queue(channel)], on_message=messages.append):
            loop = turn_until(hub, messages, 9)
            for message in messages[:4]:
                message.ack()
            channel.write_acks()
            first.ack()
            for message in (messages[8], messages[4], messages[5]):
                message.ack()
            messages[7].reject()
            channel.write_acks()
            # The broker closes the channel of somebody who acknowledges anything twice.
            assert queue(channel).queue_declare(passive=True).message_count == 0
            loop.close()
            hub.close()
    with Connection(amqp_url) as connection:
        left = queue(connection.default_channel)
        assert left.get(no_ack=True).payload[0] == 7
        assert left.get(no_ack=True) is None


def test_other_threads_acknowledge_at_once(amqp_url, queue):
    publish(amqp_url, queue, 1)
    hub = Hub()
    with Connection(amqp_url) as connection:
        connection.register_with_event_loop(hub)
        message = queue(connection.default_channel).get()
        transport = connection.connection.transport
        thread = threading.Thread(target=message.ack)
        thread.start()
        thread.join()
        assert transport._holding == []
        hub.close()


def take_all(url, queue, count, consume):
    """Turn a hub until so many messages are in the list that it returns.

    - consume: starts consuming of a bound queue into a list, and returns that.
    """
    hub = Hub()
    with Connection(url) as connection:
        connection.register_with_event_loop(hub)
        taken = consume(queue(connection.default_channel))
        loop = turn_until(hub, taken, count)
        loop.close()
        hub.close()
    return taken


def test_whoever_consumes_without_kombu_gets_messages_of_py_amqp(amqp_url, queue):
    publish(amqp_url, queue, 20)
    taken = []

    def consume(bound):
        bound.consume("mine", taken.append, no_ack=True)
        return taken

    take_all(amqp_url, queue, 20, consume)
    assert {type(message) for message in taken} == {AmqpMessage}
    assert taken[3].delivery_info["consumer_tag"] == "mine"


def test_overridden_reception_is_used(amqp_url, queue):
    publish(amqp_url, queue, 20)

    class Receiving(Consumer):
        raw: list = []

        def _receive_callback(self, message):
            self.raw.append(message)
            message.channel.basic_ack(message.delivery_tag)

    def consume(bound):
        Receiving(bound.channel, [bound]).consume()
        return Receiving.raw

    assert {type(each) for each in take_all(amqp_url, queue, 20, consume)} == {AmqpMessage}


def test_messages_come_again_as_redelivered_and_rejected_ones_do_not(amqp_url, queue):
    publish(amqp_url, queue, 60)
    seen = []

    def consume(bound):
        def take(body, message):
            seen.append((body[0], message.delivery_info["redelivered"]))
            if message.delivery_info["redelivered"] or body[0] % 3 == 0:
                message.reject()
            else:
                message.requeue()

        Consumer(bound.channel, [bound], callbacks=[take], accept=["json"]).consume()
        return seen

    take_all(amqp_url, queue, 100, consume)
    again = {number for number, redelivered in seen if redelivered}
    assert again == {number for number in range(60) if number % 3}
    with Connection(amqp_url) as connection:
        assert queue(connection.default_channel).get() is None


def test_the_end_of_a_process_waits_until_the_broker_has_read_everything(amqp_url, queue):
    # A connection that just ends loses what the broker has not handled yet.
    parts = urlsplit(amqp_url)
    proxy = Proxy((parts.hostname, parts.port or 5672))
    proxy.sent = []
    through = parts._replace(netloc=f"guest:guest@127.0.0.1:{proxy.port}").geturl()
    code = """if True:
        import sys
        from taskq.transport import Connection
        producer = Connection(sys.argv[1]).Producer()
        for number in range(300):
            producer.publish(number, exchange="", routing_key=sys.argv[2])
    """
    try:
        subprocess.run([sys.executable, "-c", code, through, queue.name], check=True, timeout=60)
    finally:
        proxy.close()
    # connection.close, a method frame on channel 0, is the last that it says.
    assert b"\x00\x0a\x00\x32" in b"".join(proxy.sent)[-40:]
    with Connection(amqp_url) as connection:
        declared = queue(connection.default_channel).queue_declare(passive=True)
        assert declared.message_count == 300


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_task_sees_the_headers_of_its_message_in_both_places(
    make_project, amqp_url, redis_url, pool
):
    code = """
        @app.task(bind=True)
        def show(self, x):
            properties = self.request.properties
            headers = properties["application_headers"]
            return [headers["id"] == self.request.id, headers["task"], headers["argsrepr"],
                    properties["content_type"], properties["delivery_mode"]]
    """
    project = make_project(code, broker=amqp_url, backend=redis_url)
    with project.worker("-c", "1", "-P", pool):
        seen = project.proj.show.delay(7).get(timeout=PATIENCE)
    assert seen == [True, "proj.show", "(7,)", "application/json", 2]
