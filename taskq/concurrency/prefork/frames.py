"""The packets between the main process and a child, as bytes.

Towards the child: ``(seq, kind, payload)``; back: ``(seq, kind, value, runtime)``. Both are
written by marshal, the fastest serializer for plain data; what marshal can't write goes through
pickle inside. Both ends are the same program on the same machine, so neither has a version.
"""

from __future__ import annotations

import marshal
import pickle
from typing import Any

#: marshal format without reference tracking: smaller cost, same data.
MARSHAL_VERSION = 2

#: Largest packet in bytes that travels by itself; bigger ones go through a file or in fragments.
INLINE_LIMIT = 64 * 1024
#: Bytes of a receive buffer: the largest packet and some room for a fragment's frame.
BUFFER_SIZE = INLINE_LIMIT + 1024

# Kinds of packets to a child.
#: A task acknowledged after it ran: skipped by a child whose main process is gone.
LATE = 0
#: A task acknowledged already: it must run, whatever happened to the main process.
EARLY = 1
#: Leave when you read this.
STOP = 2
#: The payload is pickled bytes; added to LATE or EARLY.
PICKLED = 4
#: The packet proper is in the attached file, of ``payload`` bytes.
IN_FILE = 8
#: The body is in the attached file: ``(payload without it, its size in bytes)``.
BODY_IN_FILE = 16
#: Kinds above this one need :func:`unpack` before their payload can be used.
PLAIN = STOP

#: Place of the body in a payload.
BODY = 3

# Kinds of packets from a child.
#: A task returned normally; ``value`` is its repr or None.
DONE = 0
#: A task ended otherwise; ``value`` is a pickled Outcome.
ENDED = 1
#: The child is initialised and waits for tasks.
READY = 2
#: A piece of a packet that was too large; ``value`` holds the bytes.
FRAGMENT = 3
#: The last piece.
LAST_FRAGMENT = 4
#: The executor itself raised, so the task has no outcome; ``value`` is the pickled exception.
ESCAPED = 5
#: Added to DONE, ENDED and ESCAPED: the child reads nothing more and exits.
LEAVING = 8


def encode_task(seq: int, kind: int, payload: tuple[Any, ...]) -> bytes:
    """Return the packet for one task; ``kind`` is LATE or EARLY, with what is added to it.

    Raises:
        Exception: the payload can be neither marshalled nor pickled.
    """
    try:
        return marshal.dumps((seq, kind, payload), MARSHAL_VERSION)
    except ValueError:
        if isinstance(payload[BODY], memoryview):  # which pickle does not take
            payload = with_body(payload, bytes(payload[BODY]))
        pickled = pickle.dumps(payload, pickle.HIGHEST_PROTOCOL)
        return marshal.dumps((seq, kind | PICKLED, pickled), MARSHAL_VERSION)


def encode_without_body(seq: int, kind: int, payload: tuple[Any, ...]) -> bytes:
    """Return the packet for a task whose body travels in a file.

    Raises:
        Exception: the payload can be neither marshalled nor pickled.
    """
    kind |= BODY_IN_FILE
    rest, size = with_body(payload, b""), len(payload[BODY])
    try:
        return marshal.dumps((seq, kind, (rest, size)), MARSHAL_VERSION)
    except ValueError:
        pickled = pickle.dumps(rest, pickle.HIGHEST_PROTOCOL)
        return marshal.dumps((seq, kind | PICKLED, (pickled, size)), MARSHAL_VERSION)


def with_body(payload: tuple[Any, ...], body: Any) -> tuple[Any, ...]:
    """Return ``payload`` with another body."""
    return (*payload[:BODY], body, *payload[BODY + 1 :])


def unpack(kind: int, content: Any) -> tuple[Any, ...]:
    """Return the payload that a packet of ``kind`` holds pickled, or with its body apart."""
    body = None
    if kind & BODY_IN_FILE:
        content, body = content
    payload: tuple[Any, ...] = pickle.loads(content) if kind & PICKLED else content
    return payload if body is None else with_body(payload, body)


def encode_stop() -> bytes:
    """Return the packet that makes a child leave."""
    return marshal.dumps((0, STOP, None), MARSHAL_VERSION)


def encode_large(seq: int, size: int) -> bytes:
    """Return the packet that goes with a file holding the packet proper, of ``size`` bytes."""
    return marshal.dumps((seq, IN_FILE, size), MARSHAL_VERSION)


def encode_reply(seq: int, kind: int, value: Any, runtime: float) -> bytes:
    """Return a packet from a child.

    Raises:
        ValueError: ``value`` is not plain data.
    """
    return marshal.dumps((seq, kind, value, runtime), MARSHAL_VERSION)
