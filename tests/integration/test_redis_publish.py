"""Publishing to Redis: what arrives is what kombu would have sent, and refusals say what to do."""

from __future__ import annotations

import datetime
import json
import socket
import uuid

import pytest
from kombu import Connection as KombuConnection
from kombu import Exchange, Queue
from redis import exceptions

from taskq.transport import Connection
from tests.integration.redis_support import Server, bodies_in, send
from tests.services import free_port


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.mark.parametrize(
    "options",
    [
        {"serializer": "json"},
        {"serializer": "pickle", "priority": 6, "expiration": 3},
        {"serializer": "json", "compression": "zlib"},
        {
            "serializer": "json",
            "headers": {"när": datetime.datetime(2026, 1, 2), "id": uuid.UUID(int=7)},
        },
        {"serializer": "json", "correlation_id": "x", "reply_to": "y", "delivery_mode": 1},
        {"content_type": "application/x", "content_encoding": "binary"},
        {"content_type": "text/plain", "content_encoding": "utf-8"},
    ],
)
def test_envelope_is_the_one_kombu_writes(redis_url, connection, client, options):
    body = b"\x00\xff" if options.get("content_encoding") == "binary" else "grüße"
    with KombuConnection(redis_url) as kombu:
        for each in (connection, kombu):
            each.Producer().publish(body, exchange="", routing_key="q", **dict(options))
    theirs, ours = (json.loads(entry) for entry in client.lrange(_only_list(client), 0, -1))
    assert ours["properties"].pop("delivery_tag") != theirs["properties"].pop("delivery_tag")
    assert ours == theirs
    assert list(ours) == list(theirs)


def _only_list(client):
    [name] = [key for key in client.keys("*") if client.type(key) == b"list"]
    return name


def test_delivery_tag_is_a_uuid(connection, client):
    send(connection, "q", 1)
    tag = json.loads(client.lindex("q", 0))["properties"]["delivery_tag"]
    assert str(uuid.UUID(tag)) == tag
    assert uuid.UUID(tag).version == 4


def test_prepared_message_can_be_published_again(connection, client):
    channel = connection.default_channel
    message = channel.prepare_message('"x"', 0, "application/json", "utf-8")
    for _ in range(2):
        channel.basic_publish(message, exchange="", routing_key="q")
    assert bodies_in(client, "q") == ["x", "x"]
    tags = {json.loads(entry)["properties"]["delivery_tag"] for entry in client.lrange("q", 0, -1)}
    assert len(tags) == 2


def test_direct_exchange_leads_to_the_queues_bound_anywhere(redis_url, connection, client):
    with KombuConnection(redis_url) as kombu:
        for name in ("a", "b"):
            Queue(name, Exchange("x"), "key")(kombu.default_channel).declare()
    connection.Producer().publish(1, exchange="x", routing_key="key", serializer="json")
    assert bodies_in(client, "a", "b") == [1, 1]


def test_new_binding_counts_at_once(connection, client):
    channel = connection.default_channel
    Queue("a", Exchange("x"), "key")(channel).declare()
    producer = connection.Producer()
    producer.publish(1, exchange="x", routing_key="key", serializer="json")
    Queue("b", Exchange("x"), "key")(channel).declare()
    producer.publish(2, exchange="x", routing_key="key", serializer="json")
    assert bodies_in(client, "a") == [1, 2]
    assert bodies_in(client, "b") == [2]


def test_topic_exchange(connection, client):
    exchange = Exchange("t", type="topic")
    channel = connection.default_channel
    Queue("some", exchange, "a.*")(channel).declare()
    Queue("all", exchange, "#")(channel).declare()
    producer = connection.Producer()
    producer.publish(1, exchange="t", routing_key="a.b", serializer="json")
    producer.publish(2, exchange="t", routing_key="c", serializer="json")
    assert bodies_in(client, "some") == [1]
    assert bodies_in(client, "all") == [1, 2]


def test_expiring_queue(connection, client):
    queue = Queue("q", Exchange(""), "q", expires=60)(connection.default_channel)
    queue.declare()
    send(connection, "q", 1)
    assert 0 < client.ttl("q") <= 60
    connection.default_channel.basic_publish_many(
        [(connection.default_channel.prepare_message("1", 3, "application/json", "utf-8"), "", "q")]
    )
    assert 0 < client.ttl("q\x06\x163") <= 60


def test_many_arrive_in_order_in_one_round_trip(connection, client):
    channel = connection.default_channel
    messages = [
        (channel.prepare_message(str(n), 0, "application/json", "utf-8"), "", f"q{n % 2}")
        for n in range(2000)
    ]
    channel.basic_publish_many(messages)
    assert bodies_in(client, "q0") == list(range(0, 2000, 2))
    assert bodies_in(client, "q1") == list(range(1, 2000, 2))
    channel.basic_publish_many([])


def test_many_are_all_or_none(connection, client):
    channel = connection.default_channel
    good = channel.prepare_message("1", 0, "application/json", "utf-8")
    bad = channel.prepare_message("1", 0, "application/json", "utf-8", headers={"x": object()})
    with pytest.raises(TypeError):
        channel.basic_publish_many([(good, "", "q"), (bad, "", "q")])
    assert not client.exists("q")


def test_batch_of_a_kombu_producer(connection, client):
    producer = connection.Producer()
    assert producer.supports_batch_publish
    with producer.batch(max_size=3) as batch:
        for number in range(4):
            producer.publish(number, exchange="", routing_key="q", serializer="json")
        assert bodies_in(client, "q") == [0, 1, 2]
        batch.flush()
        assert bodies_in(client, "q") == [0, 1, 2, 3]


def test_full_server_refuses_and_workers_can_drain_it(server):
    with Connection(server.url) as connection:
        send(connection, "q", *range(3))
        client = server.client()
        client.config_set("maxmemory", 1)
        with pytest.raises(exceptions.OutOfMemoryError, match="maxmemory limit: raise it"):
            send(connection, "q", 3)
        channel = connection.default_channel
        assert channel.basic_get("q").payload == 0


def test_missing_and_wrong_password(server):
    server.client().config_set("requirepass", "secret")
    with pytest.raises(exceptions.AuthenticationError, match="wants a password: put it into") as no:
        Connection(server.url).connect()
    assert str(server.port) in str(no.value)
    wrong = server.url.replace("://", "://:guess@")
    with pytest.raises(exceptions.AuthenticationError, match="is wrong") as error:
        Connection(wrong).connect()
    assert "guess" not in str(error.value)
    right = Connection(server.url.replace("://", "://default:secret@"))
    right.connect()
    right.close()


def test_replica_is_refused(server, tmp_path):
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other")
    try:
        with Connection(server.url) as connection:
            send(connection, "q", 1)
            server.client().replicaof("127.0.0.1", other.port)
            with pytest.raises(
                connection.connection_errors, match="read-only replica: use the URL"
            ):
                send(connection, "q", 2)
        with pytest.raises(connection.connection_errors, match="is a replica of 127"):
            Connection(server.url).connect()
    finally:
        other.stop()


def test_cluster_is_refused(tmp_path):
    node = Server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        connection = Connection(node.url)
        with pytest.raises(connection.connection_errors, match=r"can't hold queues.*mode off"):
            connection.connect()
    finally:
        node.stop()


def test_evicting_server_is_warned_about(tmp_path, caplog):
    server = Server(tmp_path, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    try:
        with Connection(server.url) as connection:
            connection.default_channel.basic_get("q")
            connection.channel().basic_get("q")
        assert caplog.text.count("may throw queues away") == 1
    finally:
        server.stop()


def test_key_that_is_no_list(connection, client):
    client.set("q", "x")
    with pytest.raises(exceptions.ResponseError, match="holds something else: rename the queue"):
        send(connection, "q", 1)
    with pytest.raises(exceptions.ResponseError, match="holds something else"):
        connection.default_channel.basic_get("q")


def test_user_without_permission(server):
    server.client().execute_command("ACL", "SETUSER", "u", "on", ">p", "~other", "&*", "+@all")
    with Connection(f"redis://u:p@127.0.0.1:{server.port}/0") as connection:
        with pytest.raises(exceptions.NoPermissionError, match="lacks a permission"):
            send(connection, "q", 1)


def test_unix_socket(tmp_path):
    path = tmp_path / "redis.sock"
    server = Server(tmp_path, "--unixsocket", str(path))
    try:
        with Connection(f"redis+socket://{path}?virtual_host=2") as connection:
            send(connection, "q", 1)
            assert connection.default_channel.basic_get("q").payload == 1
            assert server.client(db=2).hlen("unacked") == 1
    finally:
        server.stop()


def test_unreachable_server():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://:secret@127.0.0.1:{closed.getsockname()[1]}/0"
    connection = Connection(url)
    with pytest.raises(connection.connection_errors) as error:
        connection.connect()
    assert "secret" not in str(error.value)
