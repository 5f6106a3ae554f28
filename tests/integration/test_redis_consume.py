"""Consuming from Redis queues: what is delivered, in which order, how often, and what is left."""

from __future__ import annotations

import json
import time

import pytest
from kombu import Consumer, Exchange, Queue

from taskq.transport import Connection
from tests.integration.redis_support import Receiver, Server, bodies_in, receiving, send, wait_for


def consume(connection, queue, callback, **options):
    return Consumer(
        connection.default_channel,
        [Queue(queue, Exchange(""), queue)],
        on_message=callback,
        **options,
    )


# -- without an event loop ------------------------------------------------------


def test_one_message_per_drain(connection, client):
    send(connection, "q", 1, 2, 3)
    got = []
    with consume(connection, "q", got.append):
        connection.drain_events(timeout=5)
        assert [message.payload for message in got] == [1]
        assert bodies_in(client, "q") == [2, 3]
        connection.drain_events(timeout=5)
        assert [message.payload for message in got] == [1, 2]


def test_drain_times_out(connection):
    with consume(connection, "q", print), pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.05)


def test_drain_wakes_up_for_a_message(connection, redis_url):
    got = []
    with consume(connection, "q", got.append), Connection(redis_url) as other:
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.05)
        send(other, "q", "late")
        started = time.monotonic()
        connection.drain_events(timeout=5)
        assert got[0].payload == "late"
        assert time.monotonic() - started < 1  # not the safety look


def test_acknowledged_message_is_gone(connection, client):
    send(connection, "q", 1)
    with consume(connection, "q", lambda message: message.ack()):
        connection.drain_events(timeout=5)
        wait_for(lambda: not client.exists("unacked", "unacked_index", "q"))


def test_unacknowledged_message_is_kept_in_kombus_format(connection, client):
    send(connection, "q", 1)
    got = []
    with consume(connection, "q", got.append):
        connection.drain_events(timeout=5)
        [(tag, entry)] = client.hgetall("unacked").items()
        payload, exchange, routing_key = json.loads(entry)
        assert (exchange, routing_key) == ("", "q")
        assert payload["properties"]["delivery_info"]["routing_key"] == "q"
        assert client.zscore("unacked_index", tag) == pytest.approx(time.time(), abs=5)
        assert got[0].delivery_tag == tag.decode()


def test_get_and_ack(connection, client):
    send(connection, "q", "a")
    channel = connection.default_channel
    message = channel.basic_get("q")
    assert message.payload == "a"
    assert client.hlen("unacked") == 1
    message.ack()
    wait_for(lambda: client.hlen("unacked") == 0)
    assert channel.basic_get("q") is None


def test_get_without_acknowledgement_keeps_nothing(connection, client):
    send(connection, "q", "a")
    assert connection.default_channel.basic_get("q", no_ack=True).payload == "a"
    assert not client.exists("unacked", "q")


def test_reject_drops(connection, client):
    send(connection, "q", "a")
    connection.default_channel.basic_get("q").reject()
    wait_for(lambda: not client.exists("unacked", "unacked_index", "q"))


def test_requeue_puts_behind_the_others_and_flags(connection, client):
    send(connection, "q", "a", "b")
    channel = connection.default_channel
    channel.basic_get("q").requeue()
    assert bodies_in(client, "q") == ["b", "a"]
    assert not client.exists("unacked", "unacked_index")
    channel.basic_get("q")
    again = channel.basic_get("q")
    assert again.headers["redelivered"] is True
    assert again.delivery_info["redelivered"] is True


def test_no_ack_consumer_keeps_nothing(connection, client):
    send(connection, "q", 1, 2)
    got = []
    with consume(connection, "q", got.append, no_ack=True):
        connection.drain_events(timeout=5)
        assert not client.exists("unacked", "taskq.owners")
    assert [message.payload for message in got] == [1]
    assert bodies_in(client, "q") == [2]


def test_close_gives_back_in_order_and_flags_what_was_delivered(redis_url, client):
    with receiving(redis_url, "q", prefetch=3) as receiver:
        send(receiver.connection, "q", 1, 2, 3, 4, 5)
        assert receiver.receive(3) == [1, 2, 3]
    assert bodies_in(client, "q") == [1, 2, 3, 4, 5]
    flagged = [b'"redelivered": true' in entry for entry in reversed(client.lrange("q", 0, -1))]
    assert flagged == [True, True, True, False, False]
    assert not client.exists("unacked", "unacked_index", "taskq.owners")


# -- in an event loop -----------------------------------------------------------


def test_prefetch_count_bounds_what_is_held(redis_url, client):
    with receiving(redis_url, "q", prefetch=3) as receiver:
        send(receiver.connection, "q", *range(10))
        receiver.receive(3)
        receiver.turn(10)
        assert receiver.bodies == [0, 1, 2]
        receiver.messages[1].ack()
        assert receiver.receive(4) == [0, 1, 2, 3]
        receiver.turn(10)
        assert len(receiver.messages) == 4
        assert client.hlen("unacked") == 3


def test_everything_is_delivered_once_with_few_calls(redis_url, client):
    with receiving(redis_url, "q", prefetch=50, ack=True) as receiver:
        send(receiver.connection, "q", *range(1000))
        before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        assert receiver.receive(1000) == list(range(1000))
        receiver.turn(5)
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        assert calls < 60
        assert not client.exists("unacked", "unacked_index", "q")


def test_idle_loop_asks_nothing_and_wakes_up_at_once(redis_url, client):
    with receiving(redis_url, "q", ack=True) as receiver, Connection(redis_url) as other:
        receiver.turn(20)
        before = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        receiver.turn(50)
        after = client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        assert after - before <= 1  # a heartbeat at most
        for number in range(5):
            send(other, "q", number)
            started = time.monotonic()
            receiver.receive(number + 1)
            assert time.monotonic() - started < 1


def test_priorities_are_delivered_in_kombus_order(redis_url, connection, client):
    for priority in (9, 6, 3, 0):
        send(connection, "q", priority, priority=priority)
    assert sorted(client.keys("q*")) == [
        b"q", b"q\x06\x163", b"q\x06\x166", b"q\x06\x169",
    ]  # fmt: skip
    with receiving(redis_url, "q", prefetch=1, ack=True) as receiver:
        assert receiver.receive(4) == [0, 3, 6, 9]


def test_own_priority_steps_and_separator(redis_url, client):
    options = {"priority_steps": list(range(10)), "sep": ":"}
    with Connection(redis_url, transport_options=options) as connection:
        for priority in (5, 1, 7):
            send(connection, "q", priority, priority=priority)
        assert sorted(client.keys("q*")) == [b"q:1", b"q:5", b"q:7"]
    with receiving(redis_url, "q", ack=True, **options) as receiver:
        assert receiver.receive(3) == [1, 5, 7]


def test_queues_get_their_turn(redis_url, connection):
    send(connection, "a", *["a"] * 30)
    send(connection, "b", *["b"] * 3)
    with receiving(redis_url, "a", "b", prefetch=1, ack=True) as receiver:
        receiver.receive(12)
        assert receiver.bodies[:6].count("b") == 3


def test_sorted_order_prefers_the_first_queue(redis_url, connection):
    send(connection, "b", *["b"] * 3)
    send(connection, "a", *["a"] * 3)
    options = {"queue_order_strategy": "sorted"}
    with receiving(redis_url, "b", "a", prefetch=1, ack=True, **options) as receiver:
        assert receiver.receive(6) == ["a", "a", "a", "b", "b", "b"]


def test_urgent_message_overtakes_while_others_wait(redis_url, connection):
    send(connection, "q", *["later"] * 5, priority=9)
    with receiving(redis_url, "q", prefetch=1) as receiver:
        receiver.receive(1)
        send(connection, "q", "now", priority=0)
        receiver.messages[0].ack()
        assert receiver.receive(2) == ["later", "now"]


def test_cancelled_queue_is_left_alone(redis_url, connection, client):
    with receiving(redis_url, "a", "b", ack=True) as receiver:
        receiver.turn(3)
        receiver.consumer.cancel_by_queue("a")
        send(connection, "a", 1)
        send(connection, "b", 2)
        assert receiver.receive(1) == [2]
        receiver.turn(10)
        assert bodies_in(client, "a") == [1]


def test_message_on_its_way_to_a_cancelled_consumer_goes_back_unflagged(redis_url, client):
    with receiving(redis_url, "q") as receiver:
        receiver.turn(3)
        send(receiver.connection, "q", 1)
        receiver.connection.transport._tend()  # the claim is under way
        receiver.consumer.cancel()
        receiver.turn(10)
        assert bodies_in(client, "q") == [1]
        assert b"redelivered" not in client.lindex("q", 0)
        assert not client.exists("unacked", "unacked_index")


def test_garbage_is_delivered_as_unreadable_and_holds_nothing_up(redis_url, client):
    garbage = [b"\xff\xfe", b"[1, 2]", b'{"body": "eA==', b'{"body": 1, "properties": {}}', b"{}"]
    client.lpush("q", *garbage)
    with receiving(redis_url, "q", ack=False) as receiver:
        errors = []
        receiver.consumer.on_decode_error = lambda message, exc: (
            errors.append(message.body),
            message.ack(),
        )
        send(receiver.connection, "q", "good")
        assert receiver.receive(1)[-1:] == ["good"]
        assert sorted(errors) == sorted(garbage)


def test_unlimited_prefetch(redis_url, connection):
    send(connection, "q", *range(250))
    with receiving(redis_url, "q", prefetch=0) as receiver:
        assert receiver.receive(250) == list(range(250))


def test_global_key_prefix(redis_url, client):
    options = {"global_keyprefix": "fleet:"}
    with receiving(redis_url, "q", **options) as receiver:
        send(receiver.connection, "q", 1)
        receiver.receive(1)
        assert {key.split(b":")[0] for key in client.keys("*")} == {b"fleet"}
        receiver.messages[0].ack()
        receiver.turn(5)
        assert not client.exists("fleet:unacked")


def test_polls_where_the_server_refuses_to_tell(tmp_path, unique):
    server = Server(tmp_path)
    try:
        server.client().execute_command(
            "ACL", "SETUSER", "poller", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"
        )
        url = f"redis://poller:pw@127.0.0.1:{server.port}/0"
        with receiving(url, unique, ack=True) as receiver, Connection(url) as other:
            receiver.turn(20)
            assert not receiver.channel.claimer.wakeup.tracking
            for number in range(3):
                send(other, unique, number)
                receiver.receive(number + 1, timeout=2)
            receiver.turn(5)
            assert server.client().hlen("unacked") == 0
    finally:
        server.stop()


def test_large_and_binary_bodies(redis_url):
    body = bytes(range(256)) * 8192
    with receiving(redis_url, "q", prefetch=4) as receiver:
        send(receiver.connection, "q", *[body] * 4, content_type="application/data",
             content_encoding="binary")  # fmt: skip
        receiver.run_until(lambda: len(receiver.messages) == 4)
        assert all(message.body == body for message in receiver.messages)


def test_compressed_body(redis_url):
    with receiving(redis_url, "q") as receiver:
        send(receiver.connection, "q", {"x": "y" * 1000}, compression="gzip")
        assert receiver.receive(1) == [{"x": "y" * 1000}]


def test_many_queues(redis_url, connection):
    queues = [f"q{number}" for number in range(200)]
    for queue in queues:
        send(connection, queue, queue)
    with receiving(redis_url, *queues, ack=True) as receiver:
        assert sorted(receiver.receive(200)) == sorted(queues)
        receiver.turn(10)
        send(connection, "q77", "again")
        receiver.receive(201)


def test_many_queues_with_many_messages_get_their_turn(redis_url, connection):
    queues = [f"q{number}" for number in range(60)]
    for queue in queues:
        send(connection, queue, *[queue] * 5)
        send(connection, queue, "later", priority=9)
    with receiving(redis_url, *queues, prefetch=1, ack=True) as receiver:
        bodies = receiver.receive(360)
        assert set(bodies[:60]) == set(queues)
        assert bodies.index("later") == 300  # urgent ones of all queues come first


def test_emptied_server_does_not_stop_the_wake_up_calls(redis_url, client):
    with receiving(redis_url, "q", ack=True) as receiver, Connection(redis_url) as other:
        receiver.turn(10)
        client.flushall()
        receiver.turn(10)
        send(other, "q", 1)
        started = time.monotonic()
        receiver.receive(1)
        assert time.monotonic() - started < 1


def test_idle_herd_does_not_storm_the_server(redis_url, connection, client):
    herd = [Receiver(redis_url, "q", prefetch=1, ack=True) for _ in range(5)]
    for receiver in herd:
        receiver.turn(5)
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    for number in range(20):
        send(connection, "q", number)
        while sum(len(receiver.messages) for receiver in herd) <= number:
            for receiver in herd:
                receiver.turn()
    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
    assert calls < 20 * 5 * 1.5
    for receiver in herd:
        receiver.close()
