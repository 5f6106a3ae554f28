"""Large bodies on Redis: left in base64 until somebody needs them."""

from __future__ import annotations

import json
import marshal
from base64 import b64encode

import pytest

from taskq.app.trace import decode_body, in_base64
from taskq.concurrency.prefork.frames import EARLY, encode_task, unpack
from taskq.transport.redis.message import LARGE, Message
from taskq.worker.request import Request

SMALL_BODY = b'[["x"], {}, {}]'
LARGE_BODY = json.dumps([["x" * LARGE], {}, {}]).encode()


def claimed(body, *, encoded=None, headers=(), encoding="utf-8"):
    envelope = {
        "body": (encoded if encoded is not None else b64encode(body)).decode(),
        "content-encoding": encoding,
        "content-type": "application/json",
        "headers": {"id": "1", "task": "t", **dict(headers)},
        "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {}},
    }
    return Message.claimed(None, json.dumps(envelope).encode(), "tag", "queue")


@pytest.mark.parametrize("body", [SMALL_BODY, LARGE_BODY])
def test_body_is_the_same_for_whoever_asks(body):
    message = claimed(body)
    assert (message.undecoded is not None) == (body is LARGE_BODY)
    assert message.body == body
    assert message.undecoded is None
    assert message.body == body


@pytest.mark.parametrize("body", [SMALL_BODY, LARGE_BODY])
def test_request_hands_on_what_a_child_can_read(body):
    request = Request(claimed(body))
    _, _, _, content, content_type, encoding, *_ = request.payload
    assert decode_body(content, content_type, encoding, None) == (*json.loads(body)[:2], ANY_LINKS)
    assert request.body == body
    assert request.content_encoding == "utf-8"
    assert request.args == json.loads(body)[0]


ANY_LINKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.mark.parametrize("encoding", ["utf-8", None, "binary"])
def test_encodings(encoding):
    request = Request(claimed(LARGE_BODY, encoding=encoding))
    assert request.args == json.loads(LARGE_BODY)[0]


def test_packet_of_a_large_body_that_only_pickle_can_write():
    request = Request(claimed(LARGE_BODY))
    payload = (*request.payload[:2], {"when": object}, *request.payload[3:])
    _, kind, content = marshal.loads(encode_task(1, EARLY, payload))
    assert unpack(kind, content)[3] == bytes(b64encode(LARGE_BODY))


def test_what_is_no_base64_is_shown_as_it_came():
    encoded = b"!" * (2 * LARGE) + b"a"
    assert claimed(None, encoded=encoded).body == encoded
    with pytest.raises(ValueError):
        decode_body(encoded, "application/json", in_base64("utf-8"), None)
