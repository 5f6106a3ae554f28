"""Exchanges, queues and bindings, as every connection to the file sees them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from kombu import Exchange, Queue
from kombu.exceptions import ChannelError

from taskq.transport.sqlite.keeper import Keeper
from taskq.transport.sqlite.options import parse_url
from tests.unit.transport.sqlite.support import Connect, bodies, publish


@pytest.fixture
def channel(connect: Connect) -> Any:
    return connect().channel()


def bind(channel: Any, kind: str, *bindings: tuple[str, str]) -> None:
    channel.exchange_declare("e", kind)
    for queue, routing_key in bindings:
        channel.queue_declare(queue)
        channel.queue_bind(queue, "e", routing_key)


def test_direct_exchanges_go_by_the_exact_key(channel: Any) -> None:
    bind(channel, "direct", ("a", "k"), ("b", "k"), ("c", "other"))
    publish(channel, exchange="e", queue="k")
    assert [bodies(channel, q) for q in "abc"] == [[b"x"], [b"x"], []]


def test_topic_exchanges_go_by_pattern_and_deliver_once_per_queue(channel: Any) -> None:
    bind(channel, "topic", ("a", "task.*"), ("a", "#"), ("b", "worker.#"))
    publish(channel, exchange="e", queue="task.received")
    assert bodies(channel, "a") == [b"x"]
    assert bodies(channel, "b") == []


def test_fanout_exchanges_copy_to_every_queue(channel: Any) -> None:
    bind(channel, "fanout", ("a", ""), ("b", "ignored"))
    publish(channel, exchange="e", queue="whatever")
    assert bodies(channel, "a") == bodies(channel, "b") == [b"x"]


def test_many_messages_to_several_exchanges_at_once(channel: Any) -> None:
    bind(channel, "fanout", ("a", ""), ("b", ""))
    prepare = channel.prepare_message
    channel.basic_publish_many([(prepare(b"1"), "e", ""), (prepare(b"2"), "", "a")])
    assert bodies(channel, "a") == [b"1", b"2"]
    assert bodies(channel, "b") == [b"1"]


def test_bindings_are_those_of_all_processes(connect: Connect) -> None:
    one, two = connect().channel(), connect().channel()
    bind(one, "direct", ("a", "k"))
    publish(two, exchange="e", queue="k")
    assert bodies(one, "a") == [b"x"]
    assert list(two.list_bindings()) == [("a", "e", "k")]
    assert two.get_table("e") == [("k", None, "a")]
    manager = connect().get_manager()
    assert manager.get_bindings() == [{"source": "e", "destination": "a", "routing_key": "k"}]


def test_an_exchange_declared_anew_with_another_type_is_noticed(connect: Connect) -> None:
    one, two = connect().channel(), connect().channel()
    bind(one, "direct", ("a", "k"))
    publish(two, exchange="e", queue="k")
    one.exchange_delete("e")
    bind(one, "fanout", ("a", ""))
    publish(two, exchange="e", queue="k")
    assert bodies(one, "a") == [b"x", b"x"]


def test_unbinding(channel: Any) -> None:
    bind(channel, "direct", ("a", "k"), ("b", "k"))
    channel.queue_unbind("a", "e", "k")
    publish(channel, exchange="e", queue="k")
    assert bodies(channel, "a") == []
    assert bodies(channel, "b") == [b"x"]


def test_what_nobody_is_bound_to_goes_to_the_deadletter_queue_if_there_is_one(
    connect: Connect,
) -> None:
    channel = connect(deadletter_queue="dead").channel()
    bind(channel, "topic", ("a", "task.*"))
    with pytest.warns(UserWarning, match="dead"):
        publish(channel, b"1", exchange="e", queue="worker.x")
    with pytest.warns(UserWarning, match="dead"):
        channel.basic_publish_many([(channel.prepare_message(b"2"), "e", "worker.x")])
    assert bodies(channel, "dead") == [b"1", b"2"]


def test_inequivalent_and_unknown_exchanges_are_refused(channel: Any) -> None:
    channel.exchange_declare("e", "direct")
    channel.exchange_declare("e", "direct", durable=True)
    with pytest.raises(ChannelError, match=r"of type 'direct'.*'fanout'"):
        channel.exchange_declare("e", "fanout")
    with pytest.raises(ChannelError, match="headers"):
        channel.exchange_declare("h", "headers")
    with pytest.raises(ChannelError, match="no exchange 'nowhere'"):
        channel.exchange_declare("nowhere", passive=True)
    with pytest.raises(ChannelError, match="no exchange 'nowhere'"):
        channel.queue_bind("q", "nowhere", "k")


def test_declaring_a_queue_tells_its_counts(channel: Any) -> None:
    assert tuple(channel.queue_declare("a")) == ("a", 0, 0)
    publish(channel, queue="a")
    channel.basic_consume("a", False, print, "tag")
    assert tuple(channel.queue_declare("a", passive=True)) == ("a", 1, 1)


def test_a_queue_that_is_not_there_is_not_found(channel: Any) -> None:
    with pytest.raises(ChannelError, match="no queue 'a'") as caught:
        channel.queue_declare("a", passive=True)
    assert caught.value.code == 404


def test_a_queue_without_a_name_gets_one(channel: Any) -> None:
    assert channel.queue_declare().queue.startswith("amq.gen-")


def test_deleting_a_queue(channel: Any) -> None:
    bind(channel, "direct", ("a", "k"))
    publish(channel, queue="a")
    assert channel.queue_delete("a", if_empty=True) == 0
    assert channel.queue_delete("a") == 1
    assert list(channel.list_bindings()) == []
    publish(channel, exchange="e", queue="k")
    assert bodies(channel, "a") == []


def test_a_deleted_permanent_queue_can_still_be_sent_to(channel: Any) -> None:
    channel.queue_declare("a", durable=True)
    channel.queue_delete("a")
    publish(channel, queue="a")
    assert bodies(channel, "a") == [b"x"]


def test_an_auto_delete_queue_goes_with_its_last_consumer(connect: Connect) -> None:
    channel = connect().channel()
    channel.queue_declare("a", auto_delete=True)
    channel.basic_consume("a", True, print, "1")
    channel.basic_consume("a", True, print, "2")
    channel.basic_cancel("1")
    assert channel.queue_declare("a", passive=True)
    channel.basic_cancel("2")
    with pytest.raises(ChannelError):
        channel.queue_declare("a", passive=True)


def test_what_is_sent_to_a_temporary_queue_that_is_gone_is_dropped(channel: Any) -> None:
    channel.queue_declare("reply", auto_delete=True)
    channel.queue_delete("reply")
    publish(channel, queue="reply")
    assert bodies(channel, "reply") == []
    channel.queue_declare("reply", auto_delete=True)
    publish(channel, queue="reply")
    assert bodies(channel, "reply") == [b"x"]


def test_an_exclusive_queue_goes_with_its_channel(connect: Connect) -> None:
    one, two = connect().channel(), connect().channel()
    one.queue_declare("a", exclusive=True)
    one.close()
    with pytest.raises(ChannelError):
        two.queue_declare("a", passive=True)


def test_a_queue_that_nobody_uses_expires(connect: Connect, url: str) -> None:
    channel = connect().channel()
    Queue("idle", expires=0.05)(channel).declare()
    Queue("used", expires=0.05)(channel).declare()
    channel.basic_consume("used", True, print, "tag")
    publish(channel, queue="idle")
    time.sleep(0.06)
    Keeper(parse_url(url)).look()
    assert channel.queue_declare("used", passive=True)
    with pytest.raises(ChannelError):
        channel.queue_declare("idle", passive=True)
    assert bodies(channel, "idle") == []


def test_messages_of_a_queue_with_a_time_to_live(connect: Connect, url: str) -> None:
    connection = connect()
    queue = Queue("events", Exchange("ev", "fanout"), message_ttl=0.03)
    queue(connection.channel()).declare()
    channel = connection.channel()
    publish(channel, b"1", exchange="ev")
    publish(channel, b"2", queue="events")
    time.sleep(0.04)
    assert bodies(channel, "events") == []
    publish(channel, b"3", queue="events")
    assert bodies(channel, "events") == [b"3"]
    publish(channel, b"4", queue="events")
    time.sleep(0.04)
    Keeper(parse_url(url)).look()
    assert connection.transport.database.read("SELECT * FROM message") == []


def test_nobody_listening_takes_no_write_lock(connect: Connect) -> None:
    channel, other = connect(busy_timeout=0.05).channel(), connect()
    channel.exchange_declare("ev", "topic")
    other.connect()
    with other.transport.database.transaction():
        publish(channel, exchange="ev", queue="worker.heartbeat")
