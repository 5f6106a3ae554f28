"""AMQP deliveries, decoded from what was read ahead: three frames to one message.

py-amqp takes a delivery frame by frame and field by field, through a dozen calls each; that is most
of what a message costs a worker. Here a delivery that has arrived whole, in frames that follow each
other, is cut out of the buffer at once. Whatever else comes is left to py-amqp: other methods,
bodies of several frames, frames of other channels in between, values that tasks' headers hardly
have.
"""

from __future__ import annotations

import sys
from struct import Struct
from struct import error as StructError
from typing import Any, NamedTuple, cast

from amqp.serialization import decode_properties_basic
from kombu.compression import decompress
from kombu.transport import pyamqp

__all__ = ("Delivery", "Message", "next_delivery")

#: A method frame's type, channel and size; class and method in one number.
_METHOD = Struct(">BHII")
#: A header frame's type, channel and size; class, weight, size of the body, and which properties.
_HEADER = Struct(">BHIHHQH")
#: A frame's type, channel and size.
_FRAME = Struct(">BHI")
_U64 = Struct(">Q")
#: Bytes of a frame before and behind its payload.
HEAD, TAIL = 7, 1
_END = 0xCE
#: basic.deliver, as class and method.
_DELIVER = 60 << 16 | 60
_BASIC = 60
#: Properties that are decoded here: content type and encoding, headers, delivery mode, priority,
#: correlation id and reply-to. Those behind them are rare.
_COMMON = 0xFE00
#: Short texts that come again with every message, remembered at most.
_REMEMBERED = 1000


class Delivery(NamedTuple):
    """What a delivery says, without what its channel has to add.

    - end: where the next frame begins.
    """

    end: int
    channel: int
    delivery_tag: int
    info: dict[str, Any]
    properties: dict[str, Any]
    body: bytes


class Message(pyamqp.Message):
    """kombu's message, made of a `Delivery` as well."""

    @classmethod
    def delivered(cls, delivery: Delivery, channel: Any) -> Message:
        """Return the message of a delivery on a channel."""
        message: Any = cls.__new__(cls)
        properties = delivery.properties
        body: Any = delivery.body
        get = properties.get
        message.channel = channel
        message.delivery_tag = delivery.delivery_tag
        message.delivery_info = delivery.info
        message.properties = properties
        message.headers = headers = get("application_headers") or {}
        message.content_type = get("content_type")
        message.content_encoding = encoding = get("content_encoding")
        message.accept = message._decoded_cache = None
        message._state = "RECEIVED"
        message.errors = []
        if not body:
            body = ""  # as py-amqp has it
        elif encoding is not None and channel.auto_decode:
            try:
                body = body.decode(encoding)
            except (UnicodeDecodeError, LookupError):
                pass  # "binary" and other names that are no character set: bytes they stay
        compression = headers.get("compression")
        if compression:
            try:
                body = decompress(body, compression)
            except Exception:
                message.errors.append(sys.exc_info())
        message.body = body
        return cast("Message", message)


def next_delivery(data: bytes, at: int) -> Delivery | None:
    """Return the delivery that begins at a frame; None if it is none, or not of the usual form.

    - data: what was read; at: where a frame begins.
    """
    try:
        kind, channel, size, method = _METHOD.unpack_from(data, at)
        if method != _DELIVER or kind != 1:
            return None
        header = at + HEAD + size + TAIL
        kind, of, size, class_id, _, body_size, flags = _HEADER.unpack_from(data, header)
        body = header + HEAD + size + TAIL
        if kind != 2 or of != channel or class_id != _BASIC or data[header - 1] != _END:
            return None
        end = body
        if body_size:
            kind, of, size = _FRAME.unpack_from(data, body)
            end = body + HEAD + size + TAIL
            if kind != 3 or of != channel or size != body_size:
                return None
        if data[body - 1] != _END or data[end - 1] != _END:
            return None
        tag, info = _arguments(data, at + HEAD + 4, header - TAIL)
        return Delivery(
            end,
            channel,
            tag,
            info,
            _properties(data, header + _HEADER.size, body - TAIL, flags),
            data[body + HEAD : end - TAIL],
        )
    except (StructError, IndexError):
        return None  # not all of it is there


#: Consumer tags, and exchanges with routing keys, as they are in frames -> what they say.
_tags: dict[bytes, str] = {}
_destinations: dict[bytes, tuple[str, str]] = {}


def _arguments(data: bytes, at: int, end: int) -> tuple[int, dict[str, Any]]:
    """Return the delivery tag of a basic.deliver, and all its arguments."""
    tag_at = at + 1 + data[at]
    raw = data[at + 1 : tag_at]
    consumer_tag = _tags.get(raw)
    if consumer_tag is None:
        consumer_tag = _remember(_tags, raw, raw.decode("utf-8", "surrogatepass"))
    (delivery_tag,) = _U64.unpack_from(data, tag_at)
    raw = data[tag_at + 9 : end]
    destination = _destinations.get(raw)
    if destination is None:
        key = 1 + raw[0]
        texts = (raw[1:key], raw[key + 1 : key + 1 + raw[key]])
        exchange, routing_key = (text.decode("utf-8", "surrogatepass") for text in texts)
        destination = _remember(_destinations, raw, (exchange, routing_key))
    return delivery_tag, {
        "consumer_tag": consumer_tag,
        "delivery_tag": delivery_tag,
        "redelivered": (data[tag_at + 8] & 1) == 1,
        "exchange": destination[0],
        "routing_key": destination[1],
    }


def _remember(known: dict[bytes, Any], raw: bytes, value: Any) -> Any:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[raw] = value
    return value


def _properties(data: bytes, at: int, end: int, flags: int) -> dict[str, Any]:
    """Return the properties that begin behind their flags."""
    start = at - 2
    properties: dict[str, Any] = {}
    if flags & ~_COMMON:
        return _properties_of_py_amqp(data, start)
    try:
        if flags & 0x8000:
            properties["content_type"], at = _short_text(data, at)
        if flags & 0x4000:
            properties["content_encoding"], at = _short_text(data, at)
        if flags & 0x2000:
            size = int.from_bytes(data[at : at + 4], "big")
            properties["application_headers"] = _table(data, at + 4, at + 4 + size)
            at += 4 + size
        if flags & 0x1000:
            properties["delivery_mode"] = data[at]
            at += 1
        if flags & 0x0800:
            properties["priority"] = data[at]
            at += 1
        if flags & 0x0400:
            properties["correlation_id"], at = _short_text(data, at)
        if flags & 0x0200:
            properties["reply_to"], at = _short_text(data, at)
    except (_UnusualValue, UnicodeDecodeError):
        return _properties_of_py_amqp(data, start)
    return properties if at == end else _properties_of_py_amqp(data, start)


def _properties_of_py_amqp(data: bytes, at: int) -> dict[str, Any]:
    properties: dict[str, Any] = decode_properties_basic(data, at)[0]
    return properties


def _short_text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode(), end


class _UnusualValue(Exception):
    """A table holds a value of a type that is not decoded here."""


#: Names of headers, as they are in tables -> as text.
_names: dict[bytes, str] = {}


def _table(data: bytes, at: int, end: int) -> dict[str, Any]:
    """Return the table between two places. Raises `_UnusualValue`, UnicodeDecodeError."""
    table: dict[str, Any] = {}
    names, from_bytes = _names, int.from_bytes
    while at < end:
        kind_at = at + 1 + data[at]
        raw = data[at + 1 : kind_at]
        name = names.get(raw)
        if name is None:
            name = _remember(names, raw, raw.decode())
        kind = data[kind_at]
        at = kind_at + 1
        if kind == 0x56:  # V, nothing
            table[name] = None
        elif kind == 0x53:  # S, text
            start = at + 4
            at = start + from_bytes(data[at:start], "big")
            table[name] = data[start:at].decode()
        else:
            table[name], at = _value(data, at, kind)
    return table


def _array(data: bytes, at: int, end: int) -> list[Any]:
    values = []
    while at < end:
        value, at = _value(data, at + 1, data[at])
        values.append(value)
    return values


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    """Return a value of a table or an array, and where it ends."""
    if kind == 0x56:  # V
        return None, at
    if kind == 0x74:  # t
        return data[at] != 0, at + 1
    number = _NUMBERS.get(kind)
    if number is not None:
        return number.unpack_from(data, at)[0], at + number.size
    if kind not in _SIZED:
        raise _UnusualValue
    start = at + 4
    end = start + int.from_bytes(data[at:start], "big")
    return _SIZED[kind](data, start, end), end


#: The numbers that Python has: I, L, l and d.
_NUMBERS = {0x49: Struct(">i"), 0x4C: Struct(">q"), 0x6C: Struct(">q"), 0x64: Struct(">d")}
#: The types whose values begin with their size: S, A and F.
_SIZED: dict[int, Any] = {
    0x53: lambda data, start, end: data[start:end].decode(),
    0x41: _array,
    0x46: _table,
}
