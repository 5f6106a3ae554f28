"""Messages that nobody would send, and rows that nobody wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskq.transport import Connection
from tests.unit.transport.sqlite.support import publish

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
tables = st.dictionaries(st.text(), json_values, max_size=6)
fuzzing = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path: Path = tmp_path_factory.mktemp("fuzz")
    with Connection(f"sqlite:///{path}/fuzz.db") as connection:
        yield connection.channel()


@fuzzing
@given(body=st.binary(max_size=200) | st.text(), headers=tables, properties=tables)
def test_anything_that_is_json_comes_back_the_same(
    channel: Any, body: Any, headers: dict[str, Any], properties: dict[str, Any]
) -> None:
    properties = {key: value for key, value in properties.items() if key != "delivery_info"}
    for key in ("eta", "compression"):
        headers.pop(key, None)
    publish(channel, body, headers=dict(headers), properties=dict(properties))
    got = channel.basic_get("q", no_ack=True)
    if "__type__" not in str(headers) + str(properties):
        assert got.headers == headers
        assert {key: got.properties[key] for key in properties} == properties
    expected = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    assert got.body == expected


@fuzzing
@given(value=json_values, key=st.sampled_from(["eta", "compression", "redelivered"]))
def test_any_value_of_a_header_with_a_meaning(channel: Any, value: Any, key: str) -> None:
    publish(channel, headers={key: value})
    assert channel.basic_get("q", no_ack=True) is not None


@fuzzing
@given(value=json_values, key=st.sampled_from(["priority", "expiration", "correlation_id"]))
def test_any_value_of_a_property_with_a_meaning(channel: Any, value: Any, key: str) -> None:
    publish(channel, properties={key: value})
    channel.queue_purge("q")


@fuzzing
@given(envelope=st.text() | json_values.map(str) | st.just("[" * 5000))
def test_any_envelope_gives_a_message_that_can_be_rejected(channel: Any, envelope: str) -> None:
    publish(channel)
    row = (envelope.encode("utf-8", "replace").decode(),)
    channel.connection.database.write("UPDATE message SET envelope = ?", row)
    got = channel.basic_get("q")
    assert got.headers == {} or isinstance(got.headers, dict)
    got.reject()
    assert channel.basic_get("q") is None


@fuzzing
@given(name=st.text(), key=st.text())
def test_any_name_of_a_queue_and_any_routing_key(channel: Any, name: str, key: str) -> None:
    try:
        channel.queue_declare(name)
        channel.exchange_declare("t", "topic")
        channel.queue_bind(name, "t", key)
    except UnicodeEncodeError:
        return
    publish(channel, queue=key, exchange="t")
    channel.queue_delete(name)
