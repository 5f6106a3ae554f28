"""Names of lists and keys, and when lists are looked at."""

from __future__ import annotations

import pytest

from taskq.transport.redis import errors
from taskq.transport.redis.keys import ListNames
from taskq.transport.redis.resp import ErrorReply, Push
from taskq.transport.redis.wakeup import Wakeup

LISTS = ListNames("p:", "\x06\x16", (0, 3, 6, 9))


@pytest.mark.parametrize(
    ("priority", "name"),
    [
        (0, "p:q"), (2, "p:q"), (3, "p:q\x06\x163"), (5, "p:q\x06\x163"), (9, "p:q\x06\x169"),
        (99, "p:q\x06\x169"), (-1, "p:q"), (None, "p:q"), ("6", "p:q\x06\x166"), ("x", "p:q"),
    ],
)  # fmt: skip
def test_list_of_a_priority(priority, name):
    assert LISTS.of_priority("q", priority) == name


def test_lists_are_looked_at_until_found_empty_and_again_when_written_to():
    wakeup = Wakeup()
    wakeup.tracking = True
    wakeup.watch(["a", "b"], urgent=["a"])
    assert wakeup.may_have_messages
    assert wakeup.urgent
    wakeup.on_claimed(["a"], 3)
    assert wakeup.may_have_messages
    assert not wakeup.urgent
    wakeup.on_claimed(["b"], 0)
    assert not wakeup.may_have_messages
    wakeup.on_push(Push([b"invalidate", [b"other"]]))
    assert not wakeup.may_have_messages
    wakeup.on_push(Push([b"invalidate", [b"b"]]))
    assert wakeup.dirty == {"b"}
    wakeup.on_claimed(["b"], 0)
    wakeup.on_push(Push([b"invalidate", None]))  # FLUSHALL
    assert wakeup.dirty == {"a", "b"}


def test_without_word_of_the_server_lists_are_looked_at_again_soon():
    wakeup = Wakeup()
    wakeup.watch(["a"])
    wakeup.on_claimed(["a"], 1)
    soon = wakeup.timeout
    for _ in range(30):
        wakeup.on_claimed(["a"], 0)
    assert 0 < soon < wakeup.timeout < 1
    assert wakeup.impatient


def test_remedies():
    error = errors.from_reply(ErrorReply("NOAUTH Authentication required."), "redis://h")
    assert "put it into the URL" in str(error)
    assert "(redis://h)" in str(error)
    other = errors.from_reply(ErrorReply("ERR strange"), "redis://h")
    assert str(other) == "ERR strange (redis://h)"
