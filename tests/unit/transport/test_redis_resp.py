"""Packing commands and parsing replies of Redis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.transport.redis.resp import ErrorReply, ProtocolError, Push, Reader, pack

STREAM = (
    b"+OK\r\n:12\r\n$5\r\nhel\r\n\r\n$-1\r\n*3\r\n:1\r\n$3\r\nabc\r\n*2\r\n+a\r\n_\r\n*-1\r\n"
    b"-ERR boom\r\n>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n*0\r\n%1\r\n+k\r\n,1.5\r\n#t\r\n"
    b"~1\r\n$0\r\n\r\n(123456789012345678901234567890\r\n=5\r\ntxt:x\r\n!5\r\nERR x\r\n"
)
REPLIES = [
    b"OK", 12, b"hel\r\n", None, [1, b"abc", [b"a", None]], [], "ERR boom",
    [b"invalidate", [b"k"]], [], [b"k", 1.5], True, [b""], 123456789012345678901234567890, b"x",
    "ERR x",
]  # fmt: skip


def plain(replies):
    return [reply.args[0] if isinstance(reply, ErrorReply) else reply for reply in replies]


def test_pack():
    assert pack("SET", b"k\xff", 1) == b"*3\r\n$3\r\nSET\r\n$2\r\nk\xff\r\n$1\r\n1\r\n"
    assert pack("x", "ä") == b"*2\r\n$1\r\nx\r\n$2\r\n\xc3\xa4\r\n"


def test_every_type():
    assert plain(Reader().feed(STREAM)) == REPLIES


def test_pushes_can_be_told_apart():
    kinds = [type(reply) for reply in Reader().feed(STREAM) if isinstance(reply, list)]
    assert kinds.count(Push) == 1


@given(st.lists(st.integers(1, 40), min_size=1))
def test_however_the_network_cuts_it(sizes):
    reader, replies, position = Reader(), [], 0
    while position < len(STREAM):
        size = sizes[len(replies) % len(sizes)]
        replies += reader.feed(STREAM[position : position + size])
        position += size
    assert plain(replies) == REPLIES


@given(st.lists(st.binary(max_size=300), max_size=20), st.integers(1, 50))
def test_what_was_packed_is_read(arguments, size):
    reader, data, replies = Reader(), pack(*arguments), []
    for start in range(0, len(data), size):
        replies += reader.feed(data[start : start + size])
    assert replies == [arguments]


def test_big_reply_in_many_pieces():
    values = [bytes([number]) * 300_000 for number in range(20)]
    data, reader, replies = pack(*values), Reader(), []
    for start in range(0, len(data), 65536):
        replies += reader.feed(data[start : start + 65536])
    assert replies == [values]


def test_nonsense_is_an_error():
    with pytest.raises(ProtocolError, match="not a reply of Redis"):
        list(Reader().feed(b"HTTP/1.1 400 Bad Request\r\n"))
