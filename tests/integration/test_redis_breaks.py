"""Broken connections and restarted servers: nothing is lost, nothing doubled without need."""

from __future__ import annotations

import base64
import gc
import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from kombu import Exchange
from kombu.exceptions import OperationalError
from redis import Redis

from taskq.transport import Connection
from tests.integration.redis_support import Receiver, bodies_in, receiving, send, wait_for

LEASE = 2.0


def kill_clients(client: Redis) -> None:
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_kill_filter(_type="pubsub", skipme=True)


def run_through_breaks(receiver: Receiver, condition, timeout=20.0):
    """Run the loop as a worker does: after a connection error, close, wait, connect, go on."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, receiver.bodies
        try:
            receiver.turn()
        except receiver.connection.connection_errors:
            reconnect(receiver, deadline)


def reconnect(receiver: Receiver, deadline: float) -> None:
    receiver.connection.collect()
    while True:
        try:
            receiver.connect()
        except (*receiver.connection.connection_errors, OperationalError):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


def test_killed_connection_is_replaced_unnoticed(redis_url, connection, client):
    send(connection, "q", *range(10))
    with receiving(redis_url, "q", prefetch=3) as receiver:
        receiver.receive(3)
        kill_clients(client)
        for message in receiver.messages:
            message.ack()
        receiver.ack = True
        assert receiver.receive(10) == list(range(10))
        receiver.turn(5)
        assert not client.exists("unacked", "q")


def test_acknowledgement_during_a_break_is_sent_again(redis_url, connection, client):
    send(connection, "q", 1)
    with receiving(redis_url, "q", lease=LEASE) as receiver:
        receiver.receive(1)
        receiver.messages[0].ack()
        receiver.channel.flush()
        kill_clients(client)  # its reply may be lost
        receiver.turn(5)
        wait_for(lambda: client.hlen("unacked") == 0)
        assert client.llen("q") == 0


def test_storm_of_kills_loses_and_doubles_nothing(redis_url, connection, client):
    send(connection, "q", *range(2000))
    stop = threading.Event()

    def storm():
        with Redis.from_url(redis_url) as own:
            while not stop.wait(0.05):
                kill_clients(own)

    thread = threading.Thread(target=storm)
    receiver = Receiver(redis_url, "q", prefetch=20, ack=True, lease=LEASE)
    thread.start()
    try:
        end = time.monotonic() + 3
        run_through_breaks(receiver, lambda: time.monotonic() > end)
    finally:
        stop.set()
        thread.join()
    run_through_breaks(receiver, lambda: len(receiver.messages) >= 2000)
    receiver.turn(10)
    wait_for(lambda: not client.exists("unacked", "q"))
    receiver.close()
    assert sorted(receiver.bodies) == list(range(2000))


def test_restarted_server(server):
    with Connection(server.url) as connection:
        send(connection, "q", *range(6))
    receiver = Receiver(server.url, "q", prefetch=3, lease=LEASE)
    receiver.receive(3)
    server.stop()
    receiver.messages[0].ack()  # while it is away
    with pytest.raises(receiver.connection.connection_errors):
        receiver.turn(1000)
    server.start()
    reconnect(receiver, time.monotonic() + 10)
    # What is being worked on stays with us, and can be acknowledged on the new connection.
    run_through_breaks(receiver, lambda: len(receiver.messages) == 4)
    assert receiver.bodies == [0, 1, 2, 3]
    for message in receiver.messages[1:]:
        message.ack()
    receiver.ack = True
    run_through_breaks(receiver, lambda: len(receiver.messages) == 6)
    wait_for(lambda: receiver.turn() or not server.client().exists("unacked", "q"))
    receiver.close()
    assert receiver.bodies == list(range(6))


def test_messages_nobody_works_on_after_a_break_come_back(server):
    with Connection(server.url) as connection:
        send(connection, "q", *range(3))
    receiver = Receiver(server.url, "q", prefetch=3, lease=LEASE)
    receiver.receive(3)
    server.stop()
    with pytest.raises(receiver.connection.connection_errors):
        receiver.turn(1000)
    kept = receiver.messages[0]
    receiver.messages.clear()  # as a worker forgets what it has not begun
    gc.collect()
    server.start()
    reconnect(receiver, time.monotonic() + 10)
    run_through_breaks(receiver, lambda: len(receiver.messages) == 2)
    assert receiver.bodies == [1, 2]
    assert all(message.headers["redelivered"] for message in receiver.messages)
    kept.ack()
    wait_for(lambda: receiver.turn() or server.client().hlen("unacked") == 2)
    receiver.close()
    assert bodies_in(server.client(), "q") == [1, 2]


def test_acknowledgement_after_the_connection_is_gone_for_good(server):
    """No new channel comes: the lease's thread sends what is left, and signs off."""
    with Connection(server.url) as connection:
        send(connection, "q", 1, 2)
    receiver = Receiver(server.url, "q", lease=LEASE)
    receiver.receive(2)
    server.stop()
    with pytest.raises(receiver.connection.connection_errors):
        receiver.turn(1000)
    receiver.connection.collect()
    server.start()
    receiver.messages.pop(0).ack()
    wait_for(lambda: server.client().hlen("unacked") == 1)
    receiver.messages.pop().ack()
    wait_for(lambda: not server.client().exists("unacked", "unacked_index", "taskq.owners"))
    assert server.client().llen("q") == 0


def test_owners_get_time_to_come_back_after_a_restart(server):
    with Connection(server.url) as connection:
        send(connection, "q", 1)
    slow = Receiver(server.url, "q", lease=LEASE)
    slow.receive(1)
    server.stop()
    with pytest.raises(slow.connection.connection_errors):
        slow.turn(1000)
    time.sleep(LEASE)
    server.start()
    with receiving(server.url, "q", lease=LEASE) as quick:
        end = time.monotonic() + LEASE
        while time.monotonic() < end:
            quick.turn()
        assert quick.messages == []
    slow.messages[0].ack()
    wait_for(lambda: slow.turn() or server.client().hlen("unacked") == 0)
    slow.close()


def test_publishing_after_a_restart_succeeds_at_once(server):
    with Connection(server.url) as connection:
        send(connection, "q", 1)
        server.stop()
        server.start()
        time.sleep(1.1)
        send(connection, "q", 2)
        assert bodies_in(server.client(), "q") == [1, 2]


@pytest.fixture
def topic(server):
    """Publish to a fanout exchange without waiting for answers; returns how, and a subscriber."""
    exchange = Exchange("news", "fanout")
    with Connection(server.url) as connection, server.client().pubsub() as subscriber:
        connection.transport.answers_later = True
        producer = connection.Producer(exchange=exchange, auto_declare=False)
        producer.publish(0, declare=[exchange])

        def subscribe():
            subscriber.psubscribe("*news*")
            assert subscriber.get_message(timeout=10)["type"] == "psubscribe"

        def heard():
            while message := subscriber.get_message(timeout=0.2):
                if message["type"] == "pmessage":
                    yield json.loads(base64.b64decode(json.loads(message["data"])["body"]))

        subscribe()
        yield SimpleNamespace(
            connection=connection, publish=producer.publish, subscribe=subscribe, heard=heard
        )


def test_answers_are_read_with_the_next_message(server, topic):
    wire = topic.connection.default_channel.publisher.wire
    for number in range(1, 4):
        topic.publish(number)
        assert len(wire._posted) == 1
    assert list(topic.heard()) == [1, 2, 3]
    # What waits for its own answer does not take theirs.
    send(topic.connection, "q", 4)
    assert bodies_in(server.client(), "q") == [4]
    assert wire._posted == []


def test_what_was_not_answered_before_a_restart_is_published_again(server, topic):
    assert list(topic.heard()) == []
    topic.publish(1)
    assert list(topic.heard()) == [1]
    os.kill(server.process.pid, signal.SIGSTOP)
    topic.publish(2)  # which it has not read yet
    server.process.kill()
    server.stop()
    server.start()
    topic.subscribe()
    topic.publish(3)
    assert list(topic.heard()) == [2, 3]


def test_a_refused_message_fails_the_next_one(server, topic):
    server.client().execute_command("ACL SETUSER default resetchannels")
    topic.publish(1)
    with pytest.raises(topic.connection.channel_errors, match=r"(?i)permission"):
        topic.publish(2)
    server.client().execute_command("ACL SETUSER default allchannels")
    topic.subscribe()  # the server has thrown it out
    topic.publish(3)
    topic.publish(4)
    assert list(topic.heard()) == [3, 4]


def test_error_names_the_server_without_its_password(server):
    url = server.url.replace("redis://", "redis://:secret@")
    server.client().config_set("requirepass", "secret")
    with Connection(url) as connection:
        send(connection, "q", 1)
        server.stop()
        with pytest.raises(connection.connection_errors) as caught:
            send(connection, "q", 2)
        assert str(server.port) in str(caught.value)
        assert "secret" not in str(caught.value)


def test_forked_child_leaves_the_parents_connection_alone(redis_url, connection, client):
    send(connection, "q", *range(4))
    with receiving(redis_url, "q", prefetch=2, ack=True, lease=LEASE) as receiver:
        receiver.receive(4)
        pid = os.fork()
        if not pid:
            try:
                with Connection(redis_url) as own:
                    send(own, "q", "child")
                connection.default_channel.publisher.wire.reopen_if_closed()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        assert receiver.receive(5)[4] == "child"
        send(connection, "q", "parent")
        assert receiver.receive(6)[5] == "parent"


def test_lease_goes_on_when_the_broken_channel_is_forgotten(redis_url, connection, client):
    send(connection, "q", 1)
    receiver = Receiver(redis_url, "q", lease=LEASE)
    receiver.receive(1)
    owner = receiver.channel.claimer.lease.owner
    receiver.connection.transport.broken = True
    receiver.connection.collect()
    receiver.connect()
    receiver.turn(5)
    message = receiver.messages.pop()
    assert receiver.channel.claimer.lease.owner == owner
    message.channel = receiver.channel
    gc.collect()
    end = time.monotonic() + 1.5 * LEASE
    while time.monotonic() < end:
        receiver.turn()
    assert client.zscore("taskq.owners", owner) is not None
    assert receiver.messages == []
    message.ack()
    wait_for(lambda: receiver.turn() or not client.exists("unacked"))
    receiver.close()
