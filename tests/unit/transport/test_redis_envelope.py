"""Kombu's envelope, written and read by us."""

from __future__ import annotations

import base64
import datetime
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from taskq.transport.redis import envelope
from taskq.transport.redis.message import Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def message(body=b"body", headers=None, **properties):
    return {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers or {},
        "properties": {"delivery_info": {}, "priority": 0, **properties},
    }


@given(st.binary(), st.dictionaries(st.text(), JSON, max_size=5))
def test_what_is_written_is_what_kombu_would_write(body, headers):
    raw = envelope.encode(message(body, headers), "x", "key", "base64")
    written = kombu_loads(raw)
    assert base64.b64decode(written["body"]) == body
    assert written["headers"] == headers
    assert written["properties"]["delivery_info"] == {"exchange": "x", "routing_key": "key"}
    assert kombu_dumps(written) == kombu_dumps(json.loads(raw))


@given(st.binary(), st.dictionaries(st.text(), JSON, max_size=5))
def test_what_is_written_is_read(body, headers):
    decoded, fields = envelope.decode(envelope.encode(message(body, headers), "x", "key", "base64"))
    assert decoded == body
    assert fields["headers"] == headers


def test_message_is_not_changed():
    prepared = message("text", correlation_id="c")
    before = json.dumps(prepared)
    envelope.encode(prepared, "x", "key", "base64")
    assert json.dumps(prepared) == before


def test_dates_and_uuids_in_headers():
    headers = {"when": datetime.datetime(2026, 1, 2, 3), "id": uuid.UUID(int=5)}
    _, fields = envelope.decode(envelope.encode(message(headers=headers), "", "q", "base64"))
    assert fields["headers"] == headers


def test_text_bodies():
    raw = envelope.encode(message('quo"ted \\ ü'), "", "q", None)
    assert envelope.decode(raw)[0] == 'quo"ted \\ ü'


def test_order_of_fields_does_not_matter():
    fields = json.loads(envelope.encode(message(b"\x00\x01"), "", "q", "base64"))
    reordered = json.dumps(dict(reversed(fields.items()))).encode()
    assert envelope.decode(reordered)[0] == b"\x00\x01"
    assert envelope.decode(b" " + reordered + b"\n")[0] == b"\x00\x01"


def test_delivery_tags_are_different_uuids():
    tags = {envelope.delivery_tag() for _ in range(1000)}
    assert len(tags) == 1000
    assert all(str(uuid.UUID(tag)) == tag and uuid.UUID(tag).version == 4 for tag in tags)


def test_redelivery_is_marked_where_kombu_marks_it():
    payload = json.loads(envelope.encode(message(), "", "q", "base64"))
    envelope.mark_redelivered(payload)
    assert payload["headers"]["redelivered"] is True
    assert payload["properties"]["delivery_info"]["redelivered"] is True
    for other in ({}, {"headers": None}, {"headers": {}, "properties": []}):
        envelope.mark_redelivered(other)


@given(st.binary(max_size=200))
def test_any_bytes_become_a_message(raw):
    received = Message.claimed(None, raw, "tag", "q")
    assert received.delivery_tag == "tag"
    assert received.errors or isinstance(received.headers, dict)


@given(JSON)
def test_any_json_becomes_a_message(value):
    received = Message.claimed(None, json.dumps(value).encode(), "tag", "q")
    assert received.errors
    assert received.body == json.dumps(value).encode()


@given(st.fixed_dictionaries({"body": JSON, "headers": JSON, "properties": JSON}))
def test_any_envelope_becomes_a_message(value):
    received = Message.claimed(None, json.dumps(value).encode(), "tag", "q")
    assert received.body is None or isinstance(received.body, bytes)
    assert isinstance(received.headers, dict)
    assert isinstance(received.delivery_info, dict)


def test_unreadable_message_says_why():
    received = Message.claimed(None, b"nonsense", "tag", "q")
    with pytest.raises(ValueError, match="Expecting value"):
        received._reraise_error()
    assert received.delivery_info["routing_key"] == "q"
