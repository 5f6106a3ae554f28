"""Deliveries cut out of what was read: the same messages as py-amqp makes, or none at all."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal

import pytest
from amqp.basic_message import Message as AmqpMessage
from amqp.method_framing import frame_handler
from amqp.serialization import dumps, loads
from kombu.compression import compress
from kombu.transport import pyamqp

from taskq.transport.deliveries import Message, next_delivery

HEADERS = {
    "lang": "py",
    "task": "proj.add",
    "id": "8c5a1f02-0000-4000-8000-000000000001",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": "8c5a1f02-0000-4000-8000-000000000001",
    "argsrepr": "('ä', 2)",
    "ignore_result": True,
    "stamped_headers": None,
    "stamps": {},
}
PROPERTIES = {
    "content_type": "application/json",
    "content_encoding": "utf-8",
    "application_headers": HEADERS,
    "delivery_mode": 2,
    "priority": 3,
    "correlation_id": "8c5a1f02-0000-4000-8000-000000000001",
    "reply_to": "someone",
}
BODY = '[["ä", 2], {}, {}]'.encode()


class Channel:
    no_ack_consumers = None
    auto_decode = True


def frame(kind, channel, payload):
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def frames(
    properties=PROPERTIES, body=BODY, *, channel=1, tag=7, redelivered=False, pieces=1, raw=None
):
    """Return the frames of a delivery, as a broker sends them."""
    arguments = dumps("sLbss", ["None1", tag, redelivered, "exchange", "routing.ä"])
    if raw is None:
        raw = AmqpMessage(body, **properties)._serialize_properties()
    size = -(-len(body) // pieces) or 1
    return [
        frame(1, channel, struct.pack(">HH", 60, 60) + arguments),
        frame(2, channel, struct.pack(">HHQ", 60, 0, len(body)) + raw),
        *(frame(3, channel, body[at : at + size]) for at in range(0, len(body), size)),
    ]


def with_py_amqp(data):
    """Return kombu's message of a delivery, made by py-amqp."""
    made = []

    class Connection:
        bytes_recv = 0

    def deliver(channel, method, arguments, content):
        values, _ = loads("sLbss", arguments, 4)
        names = ("consumer_tag", "delivery_tag", "redelivered", "exchange", "routing_key")
        content.delivery_info = dict(zip(names, values, strict=True))
        made.append(content)

    handle = frame_handler(Connection(), deliver)
    at = 0
    while at < len(data):
        kind, channel, size = struct.unpack_from(">BHI", data, at)
        handle((kind, channel, data[at + 7 : at + 7 + size]))
        at += size + 8
    (content,) = made
    try:
        content.body = content.body.decode(content.content_encoding)
    except (AttributeError, UnicodeDecodeError, LookupError):
        pass  # what py-amqp's channels do, too
    return pyamqp.Message(content, channel=Channel())


def facts(message):
    names = (
        *("body", "headers", "properties", "delivery_info", "delivery_tag", "content_type"),
        *("content_encoding", "acknowledged"),
    )
    return {name: getattr(message, name) for name in names}


@pytest.mark.parametrize(
    ("properties", "body"),
    [
        (PROPERTIES, BODY),
        ({}, b"x"),
        (PROPERTIES, b""),
        ({"content_type": "application/data", "content_encoding": "binary"}, b"\xff\x00"),
        ({"content_type": "text/plain", "content_encoding": "utf-8"}, b"\xff\x00"),
        (
            {**PROPERTIES, "expiration": "1000", "message_id": "m", "timestamp": 9, "type": "t"},
            BODY,
        ),
        ({"user_id": "u", "app_id": "a", "cluster_id": "c"}, BODY),
        ({"application_headers": {}}, BODY),
        (
            {
                "application_headers": {
                    "ä": "ü",
                    "float": 1.5,
                    "large": 2**40,
                    "negative": -3,
                    "yes": True,
                    "no": False,
                    "nested": {"a": [1, [None, "x", {"b": 2.5}]], "empty": []},
                }
            },
            BODY,
        ),
        (
            {
                "application_headers": {
                    "money": Decimal("1.5"),
                    "when": datetime.datetime(2030, 1, 2, 3, 4, 5),
                    "bytes": b"\xff\xfe",
                    "x-death": [
                        {"count": 1, "reason": "expired", "time": datetime.datetime(2030, 1, 1)}
                    ],
                }
            },
            BODY,
        ),
    ],
)
def test_message_is_the_one_that_py_amqp_makes(properties, body):
    data = b"".join(frames(properties, body, redelivered=True))
    expected = with_py_amqp(data)
    delivery = next_delivery(b"before" + data + b"behind", 6)
    assert delivery.end == 6 + len(data)
    assert delivery.channel == 1
    assert facts(Message.delivered(delivery, Channel())) == facts(expected)


def test_what_the_same_bytes_say_is_remembered_rightly():
    # Consumer tags, destinations and names of headers come from memory the second time.
    first = b"".join(frames(tag=1))
    second = b"".join(frames({"application_headers": {**HEADERS, "task": "other"}}, tag=2))
    for data in (first, second, first):
        message = Message.delivered(next_delivery(data, 0), Channel())
        assert facts(message) == facts(with_py_amqp(data))


def test_messages_share_nothing_that_can_be_changed():
    data = b"".join(frames())
    one, other = (Message.delivered(next_delivery(data, 0), Channel()) for _ in range(2))
    one.headers["stamps"]["x"] = 1
    one.headers["timelimit"][0] = 5
    one.delivery_info["routing_key"] = "elsewhere"
    one.properties["reply_to"] = "nobody"
    assert facts(other) == facts(with_py_amqp(data))


def test_part_of_a_delivery_is_none():
    data = b"".join(frames())
    for length in range(len(data)):
        assert next_delivery(data[:length], 0) is None


@pytest.mark.parametrize(
    "others",
    [
        [frame(8, 0, b"")],  # a heartbeat
        [frame(1, 1, struct.pack(">HHQB", 60, 80, 1, 0))],  # basic.ack
        frames(pieces=3),
        [*frames()[:1], *frames(channel=2)],
        [*frames()[:2], *frames(channel=2)],
        frames(body=BODY, raw=struct.pack(">H", 0x2000) + struct.pack(">I", 1000)),
    ],
)
def test_what_else_comes_is_left_to_py_amqp(others):
    assert next_delivery(b"".join(others), 0) is None


def test_frames_that_end_wrongly_are_left_to_py_amqp():
    parts = frames()
    for broken in range(3):
        data = b"".join(
            part[:-1] + b"\x00" if number == broken else part for number, part in enumerate(parts)
        )
        assert next_delivery(data, 0) is None


def test_compressed_body_is_decompressed():
    body, headers_type = compress(BODY, "gzip")
    properties = {**PROPERTIES, "content_encoding": "binary"}
    properties["application_headers"] = {**HEADERS, "compression": headers_type}
    data = b"".join(frames(properties, body))
    message = Message.delivered(next_delivery(data, 0), Channel())
    assert message.body == BODY
    assert not message.errors


def test_body_that_cannot_be_decompressed_is_an_error_of_the_message():
    properties = {**PROPERTIES, "content_encoding": "binary"}
    properties["application_headers"] = {**HEADERS, "compression": "application/x-gzip"}
    message = Message.delivered(next_delivery(b"".join(frames(properties)), 0), Channel())
    assert message.body == BODY
    assert len(message.errors) == 1
