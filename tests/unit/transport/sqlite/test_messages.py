"""Publishing, getting and settling single messages."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.transport.sqlite.support import Connect, bodies, message, publish


def eta(seconds: float) -> dict[str, Any]:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return {"eta": moment.isoformat()}


@pytest.fixture
def channel(connect: Connect) -> Any:
    return connect().channel()


def test_a_message_arrives_as_it_was_sent(channel: Any) -> None:
    headers = {"id": "1", "deep": {"list": [1, None, 2.5]}, "text": "grün \ud83d"}
    publish(
        channel,
        b"\x00\xffbytes",
        headers=headers,
        properties={"correlation_id": "c", "reply_to": "r"},
        priority=3,
    )
    got = channel.basic_get("q")
    assert got.body == b"\x00\xffbytes"
    assert got.headers == headers
    assert got.properties["correlation_id"] == "c"
    assert got.properties["reply_to"] == "r"
    assert got.properties["priority"] == 3
    assert got.delivery_info == {"exchange": "", "routing_key": "q"}
    assert (got.content_type, got.content_encoding) == ("application/data", "binary")


def test_types_that_only_kombus_json_knows_survive_in_headers(channel: Any) -> None:
    headers = {"when": datetime(2024, 2, 29, tzinfo=UTC), "id": uuid.UUID(int=7)}
    publish(channel, headers=headers)
    assert channel.basic_get("q").headers == headers


def test_text_becomes_utf8(channel: Any) -> None:
    publish(channel, "grün", content_type="text/plain", content_encoding="utf-8")
    got = channel.basic_get("q")
    assert got.body == "grün".encode()
    assert got.payload == "grün"


def test_compressed_bodies_are_unpacked(connect: Connect) -> None:
    connection = connect()
    connection.Producer().publish({"a": 1}, routing_key="q", compression="gzip")
    got = connection.channel().basic_get("q")
    assert got.payload == {"a": 1}


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_rewritten_message_comes_again_with_other_headers(
    connect: Connect, compression: str | None
) -> None:
    connection, other = connect(), connect()
    connection.Producer().publish(
        {"a": 1}, routing_key="q", compression=compression, headers={"task": "one", "b": 2}
    )
    channel = connection.channel()
    held = channel.basic_get("q")
    channel.rewrite(held, {**held.headers, "task": "two"})
    assert other.channel().basic_get("q") is None
    channel.close()
    again = other.channel().basic_get("q")
    assert again.payload == {"a": 1}
    assert (again.headers["task"], again.headers["b"]) == ("two", 2)
    assert again.delivery_info["redelivered"]


def test_a_rewritten_message_is_acknowledged_like_others(connect: Connect) -> None:
    channel = connect().channel()
    publish(channel)
    held = channel.basic_get("q")
    channel.rewrite(held, {"task": "two"})
    held.ack()
    assert bodies(connect().channel()) == []
    with pytest.raises(KeyError):
        channel.rewrite(held, {})


def test_a_rewrite_that_comes_too_late_is_refused(connect: Connect) -> None:
    channel, other = connect().channel(), connect().channel()
    publish(channel)
    held = channel.basic_get("q")
    channel.connection.database.write("UPDATE message SET claim = claim + 1", ())
    channel.rewrite(held, {"task": "two"})
    assert channel.flush() == {held.delivery_tag}
    other.connection.database.write("UPDATE message SET claim = NULL", ())
    assert "task" not in other.basic_get("q").headers


def test_an_empty_queue_gives_nothing(channel: Any) -> None:
    assert channel.basic_get("q") is None


def test_acknowledged_is_gone_and_unacknowledged_is_held(connect: Connect) -> None:
    one, two = connect().channel(), connect().channel()
    publish(one, b"a")
    publish(one, b"b")
    held = one.basic_get("q")
    assert two.basic_get("q").body == b"b"
    assert two.basic_get("q") is None
    held.ack()
    one.close()
    two.close()
    assert bodies(connect().channel()) == [b"b"]


def test_without_acknowledgement_delivered_is_done(connect: Connect) -> None:
    one = connect().channel()
    publish(one)
    assert one.basic_get("q", no_ack=True).body == b"x"
    one.close()
    assert bodies(connect().channel()) == []


def test_closing_returns_what_is_held_at_once(connect: Connect) -> None:
    one = connect().channel()
    publish(one)
    first = one.basic_get("q")
    assert "redelivered" not in first.delivery_info
    one.close()
    again = connect().channel().basic_get("q")
    assert again.headers["redelivered"] is True
    assert again.delivery_info["redelivered"] is True


def test_requeued_comes_again_in_its_place_and_is_counted(channel: Any) -> None:
    publish(channel, b"a")
    publish(channel, b"b")
    channel.basic_get("q").requeue()
    again = channel.basic_get("q")
    assert again.body == b"a"
    assert again.delivery_info["redelivered"] is True
    assert again.headers["x-delivery-count"] == 1


def test_rejected_is_gone(channel: Any) -> None:
    publish(channel)
    channel.basic_get("q").reject()
    assert channel.basic_get("q") is None


def test_recover_gives_back_everything_held(channel: Any) -> None:
    publish(channel, b"a")
    publish(channel, b"b")
    channel.basic_get("q")
    channel.basic_get("q")
    channel.basic_recover(requeue=True)
    assert bodies(channel) == [b"a", b"b"]


def test_a_late_acknowledgement_is_refused_and_logged(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    one = connect().channel()
    publish(one)
    late = one.basic_get("q")
    one.close()
    other = connect().channel()
    other.basic_get("q")
    with caplog.at_level(logging.WARNING):
        late.ack()
    assert "does not hold it any more" in caplog.text
    other.close()
    assert bodies(connect().channel()) == [b"x"]


def test_lower_priority_numbers_go_first(channel: Any) -> None:
    for priority in (5, 0, 9, 3, 0):
        publish(channel, str(priority).encode(), priority=priority)
    assert bodies(channel) == [b"0", b"0", b"3", b"5", b"9"]


@pytest.mark.parametrize("priority", ["high", None, 1e400, [], -5])
def test_a_senseless_priority_counts_as_zero(channel: Any, priority: Any) -> None:
    publish(channel, b"a", properties={"priority": priority})
    publish(channel, b"b", priority=1)
    assert bodies(channel) == [b"a", b"b"]


def test_publishing_many_keeps_their_order(channel: Any) -> None:
    channel.basic_publish_many((message(channel, b"%d" % i), "", "q") for i in range(5))
    assert bodies(channel) == [b"0", b"1", b"2", b"3", b"4"]


def test_publishing_many_is_all_or_nothing(channel: Any) -> None:
    bad = message(channel, b"bad", headers={"no": object()})
    with pytest.raises(TypeError):
        channel.basic_publish_many([(message(channel), "", "q"), (bad, "", "q")])
    assert channel.basic_get("q") is None


def test_an_eta_keeps_a_message_back_until_then(channel: Any) -> None:
    publish(channel, b"later", headers=eta(0.3))
    publish(channel, b"now", headers=eta(-5))
    assert bodies(channel) == [b"now"]
    assert channel._size("q") == 0
    time.sleep(0.35)
    assert bodies(channel) == [b"later"]


@pytest.mark.parametrize(
    "value", ["soon", "9999999-01-01T00:00:00Z", 17, ["x"], "2999-01-01T00:00:00", "", True]
)
def test_an_eta_that_cannot_be_read_delivers_at_once(channel: Any, value: Any) -> None:
    publish(channel, headers={"eta": value})
    assert bodies(channel) == [b"x"]


def test_a_deferred_message_comes_later_and_as_if_new(channel: Any) -> None:
    publish(channel)
    channel.defer(channel.basic_get("q").delivery_tag, time.time() + 0.2)
    assert channel.basic_get("q") is None
    time.sleep(0.25)
    got = channel.basic_get("q")
    assert "redelivered" not in got.delivery_info
    assert "x-delivery-count" not in got.headers


def test_a_message_that_expired_is_not_delivered(channel: Any) -> None:
    publish(channel, b"old", properties={"expiration": "1"})
    publish(channel, b"new", properties={"expiration": "60000"})
    time.sleep(0.01)
    assert bodies(channel) == [b"new"]


def test_a_damaged_envelope_is_reported_with_the_message(connect: Connect) -> None:
    connection = connect()
    channel = connection.channel()
    publish(channel)
    connection.transport.database.write("UPDATE message SET envelope = '[not json'")
    got = channel.basic_get("q")
    assert got.errors
    got.reject()
    assert channel.basic_get("q") is None


def test_purging_takes_ready_and_delayed_but_not_held_messages(channel: Any) -> None:
    for i in range(3):
        publish(channel, b"%d" % i)
    publish(channel, b"late", headers=eta(60))
    held = channel.basic_get("q")
    assert channel.queue_purge("q") == 3
    assert channel.basic_get("q") is None
    held.requeue()
    assert bodies(channel) == [b"0"]


def test_a_body_of_megabytes(channel: Any) -> None:
    publish(channel, b"m" * 5_000_000)
    assert len(channel.basic_get("q").body) == 5_000_000
