"""Deferred messages: kept on the server, delivered again when due, unflagged, once."""

from __future__ import annotations

import time

import pytest

from tests.integration.redis_support import Receiver, receiving, send, wait_for


def test_message_comes_back_when_due(redis_url, connection, client):
    send(connection, "q", "far", priority=3)
    with receiving(redis_url, "q") as receiver:
        receiver.receive(1)
        message = receiver.messages[0]
        due = time.time() + 0.5
        receiver.channel.defer(message.delivery_tag, due)
        receiver.channel.flush()
        wait_for(lambda: client.zcard("taskq.parked") == 1)
        assert not client.exists("unacked", "unacked_index", "q")
        assert receiver.channel.qos.count == 0
        receiver.receive(2)
        assert 0 <= time.time() - due < 0.5
        again = receiver.messages[1]
        assert again.payload == "far"
        assert "redelivered" not in again.headers
        assert again.delivery_info == message.delivery_info
        assert again.properties == message.properties
        assert not client.exists("taskq.parked", "taskq.parked.messages")


def test_due_in_the_past_comes_back_at_once(redis_url, connection):
    send(connection, "q", 1)
    with receiving(redis_url, "q") as receiver:
        receiver.receive(1)
        receiver.channel.defer(receiver.messages[0].delivery_tag, time.time() - 100)
        assert receiver.receive(2, timeout=2) == [1, 1]


def test_order_is_that_of_due_times(redis_url, connection):
    send(connection, "q", *range(5))
    with receiving(redis_url, "q", prefetch=5, lease=60) as receiver:
        receiver.receive(5)
        due = time.time() + 0.3
        for message in receiver.messages:
            receiver.channel.defer(message.delivery_tag, due - message.payload / 1000)
        assert receiver.receive(10)[5:] == [4, 3, 2, 1, 0]


def test_parked_messages_outlive_who_parked_them(redis_url, connection, client):
    send(connection, "q", 1)
    with receiving(redis_url, "q") as receiver:
        receiver.receive(1)
        receiver.channel.defer(receiver.messages[0].delivery_tag, time.time() + 0.5)
    assert client.zcard("taskq.parked") == 1
    with receiving(redis_url, "q") as another:
        assert another.receive(1) == [1]


def test_a_worker_notices_what_others_parked(redis_url, connection, client):
    with receiving(redis_url, "q", lease=2) as idle:
        idle.turn(5)
        idle.consumer.cancel()
        send(connection, "q", 1)
        with receiving(redis_url, "q", lease=2) as receiver:
            receiver.receive(1)
            receiver.channel.defer(receiver.messages[0].delivery_tag, time.time() + 1)
        idle.consumer.consume()
        assert idle.receive(1, timeout=5) == [1]


def test_many_cost_no_room(redis_url, connection, client):
    send(connection, "q", *range(500), "ready")
    with receiving(redis_url, "q", prefetch=4) as receiver:

        def park(message):
            if message.payload == "ready":
                receiver.messages.append(message)
            else:
                receiver.channel.defer(message.delivery_tag, time.time() + 3600)

        receiver.consumer.on_message = park
        assert receiver.receive(1) == ["ready"]
        receiver.turn(5)
        assert client.zcard("taskq.parked") == client.hlen("taskq.parked.messages") == 500
        assert client.hlen("unacked") == 1


def test_unknown_tag_is_refused(redis_url, connection):
    receiver = Receiver(redis_url, "q")
    with pytest.raises(KeyError, match="no message with the delivery tag 'nonsense'"):
        receiver.channel.defer("nonsense", time.time())
    receiver.close()
