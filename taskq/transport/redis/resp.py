"""The Redis protocol: commands packed to bytes, replies read from bytes.

Used on the connections the transport holds for itself, where redis-py's own packing and parsing
would cost more than the round trip. Reads RESP2 and RESP3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: What a command is made of.
Argument = bytes | str | int


class ErrorReply(Exception):
    """An error the server replied with; `args[0]` is its text."""


class Push(list[Any]):
    """An out-of-band message of RESP3, such as an invalidation."""


class ProtocolError(Exception):
    """The bytes are not a reply: the connection is out of step and must be dropped."""


class _Incomplete(Exception):
    """The reply does not end within the bytes received so far."""


def pack(*arguments: Argument) -> bytes:
    """Return the bytes of one command."""
    parts = [b"*%d\r\n" % len(arguments)]
    parts += map(pack_argument, arguments)
    return b"".join(parts)


def pack_argument(argument: Argument) -> bytes:
    """Return the bytes of one argument, to be joined behind a hand-made ``*<count>`` header."""
    if not isinstance(argument, bytes):
        argument = str(argument).encode()
    return b"$%d\r\n%b\r\n" % (len(argument), argument)


class Reader:
    """Turns received bytes into replies.

    Bulk strings come out as bytes, errors as `ErrorReply` objects (not raised), null as None.
    A reply of many big elements is taken in element by element, so that no byte is moved more
    than a few times, however the network cuts it.
    """

    __slots__ = ("_array", "_chunks", "_missing", "_needed", "_size")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        #: Bytes that must be there before parsing can get any further.
        self._needed = 0
        #: The array being read and how many of its elements are still to come.
        self._array: list[Any] | None = None
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """Add received bytes and yield every reply that is complete now.

        Raises ProtocolError when the bytes are no protocol.
        """
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return
        if len(self._chunks) > 1:
            data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = self._needed = 0
        position, end = 0, len(data)
        try:
            while position < end:
                if self._array is None and data[position] in b"*>~":
                    position = self._begin_array(data, position)
                elif self._array is None:
                    reply, position = _parse(data, position)
                    yield reply
                else:
                    position = self._take_bulks(data, position)
                    if self._missing and position < end:
                        item, position = _parse(data, position)
                        self._array.append(item)
                        self._missing -= 1
                if self._array is not None and not self._missing:
                    array, self._array = self._array, None
                    yield array
        except _Incomplete as incomplete:
            self._needed = incomplete.args[0] - position
        if position < end:
            self._chunks.append(data[position:])
            self._size = end - position

    def _take_bulks(self, data: bytes, position: int) -> int:
        """Add the complete bulk strings that come next to the array: most of what is ever read."""
        items: Any = self._array
        find, end = data.find, len(data)
        while self._missing and position < end and data[position] == 0x24:
            start = find(b"\r\n", position) + 2
            if start == 1:
                break
            stop = start + int(data[position + 1 : start - 2])
            if stop < start or stop + 2 > end:
                break
            items.append(data[start:stop])
            position = stop + 2
            self._missing -= 1
        return position

    def _begin_array(self, data: bytes, position: int) -> int:
        end = _line_end(data, position)
        self._missing = max(0, int(data[position + 1 : end]))
        self._array = Push() if data[position] == 0x3E else []
        return end + 2


def _line_end(data: bytes, position: int) -> int:
    end = data.find(b"\r\n", position)
    if end < 0:
        raise _Incomplete(len(data) + 1)
    return end


def _parse(data: bytes, position: int) -> tuple[Any, int]:
    """Return the reply that starts at *position* and the position behind it."""
    end = _line_end(data, position)
    kind = data[position]
    after = end + 2
    if kind == 0x24:  # $ bulk string
        return _parse_bulk(data, int(data[position + 1 : end]), after)
    if kind == 0x3A:  # : integer
        return int(data[position + 1 : end]), after
    if kind in b"*~>":  # array, set, push
        return _parse_array(data, int(data[position + 1 : end]), after, push=kind == 0x3E)
    if kind == 0x2B:  # + simple string
        return data[position + 1 : end], after
    if kind == 0x2D:  # - error
        return ErrorReply(data[position + 1 : end].decode(errors="replace")), after
    return _parse_rare(data, position, end, kind)


def _parse_bulk(data: bytes, length: int, after: int) -> tuple[bytes | None, int]:
    if length < 0:
        return None, after
    stop = after + length
    if len(data) < stop + 2:
        raise _Incomplete(stop + 2)
    return data[after:stop], stop + 2


def _parse_array(data: bytes, count: int, after: int, *, push: bool) -> tuple[Any, int]:
    if count < 0:
        return None, after
    items: list[Any] = Push() if push else []
    for _ in range(count):
        item, after = _parse(data, after)
        items.append(item)
    return items, after


def _parse_rare(data: bytes, position: int, end: int, kind: int) -> tuple[Any, int]:
    """Parse the types of RESP3 that commands of ours rarely meet."""
    text, after = data[position + 1 : end], end + 2
    if kind == 0x5F:  # _ null
        return None, after
    if kind == 0x23:  # # boolean
        return text == b"t", after
    if kind == 0x2C:  # , double
        return float(text), after
    if kind == 0x28:  # ( big number
        return int(text), after
    if kind == 0x25:  # % map, as a flat list of keys and values
        return _parse_array(data, int(text) * 2, after, push=False)
    if kind in b"=!":  # verbatim string, blob error
        value, after = _parse_bulk(data, int(text), after)
        if kind == 0x21 and value is not None:
            return ErrorReply(value.decode(errors="replace")), after
        return value and value[4:], after
    raise ProtocolError(f"not a reply of Redis: {data[position : position + 40]!r}")
