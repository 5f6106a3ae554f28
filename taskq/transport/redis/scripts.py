"""The server-side scripts, and how to call them: by hash, with the text only when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis import exceptions

from taskq.transport.redis.resp import Argument, ErrorReply, pack, pack_argument
from taskq.transport.redis.wire import Wire

_FOLDER = Path(__file__).parent / "lua"


class Script:
    """One script.

    - file: its source.
    """

    __slots__ = ("_by_hash", "_by_text", "_text")

    def __init__(self, file: Path) -> None:
        text = file.read_bytes()
        digest = sha1(text, usedforsecurity=False).hexdigest()
        self._text = text
        self._by_hash = pack_argument("EVALSHA") + pack_argument(digest)
        self._by_text = pack_argument("EVAL") + pack_argument(text)

    def pack(
        self, keys: Sequence[Argument], arguments: Sequence[Argument], *, with_text: bool = False
    ) -> bytes:
        """Return the command that runs the script."""
        return self.pack_parts(
            b"".join(map(pack_argument, keys)),
            len(keys),
            b"".join(map(pack_argument, arguments)),
            len(arguments),
            with_text=with_text,
        )

    def pack_parts(
        self, keys: bytes, key_count: int, arguments: bytes, count: int, *, with_text: bool = False
    ) -> bytes:
        """Return the command that runs the script, from packed keys and packed arguments.

        - key_count, count: how many keys and arguments there are.
        - with_text: send the script itself, for a server that doesn't know it yet.
        """
        return b"*%d\r\n%b%b%b%b" % (
            3 + key_count + count,
            self._by_text if with_text else self._by_hash,
            pack_argument(key_count),
            keys,
            arguments,
        )

    def load(self, wire: Wire) -> None:
        """Make the server know the script by its hash, on a wire that nobody else waits on."""
        wire.call(pack("SCRIPT", "LOAD", self._text))

    def call(self, wire: Wire, keys: Sequence[Argument], arguments: Sequence[Argument]) -> Any:
        """Run the script on a wire that nobody else waits on, and return its reply.

        Raises the server's error.
        """
        return self.run(wire, partial(self.pack, keys, arguments))

    def run(self, wire: Wire, pack: Callable[..., bytes]) -> Any:
        """Run the script on a wire that nobody else waits on, and return its reply.

        - pack: returns the command; called with ``with_text=True`` if the server asks for it.

        Raises the server's error.
        """
        try:
            return wire.call(pack())
        except exceptions.ResponseError as exc:
            if not str(exc).startswith("NOSCRIPT"):
                raise
        return wire.call(pack(with_text=True))


def unknown_script(reply: Any) -> bool:
    """Tell whether the server replied that it does not know a script by its hash."""
    return isinstance(reply, ErrorReply) and str(reply.args[0]).startswith("NOSCRIPT")


@cache
def script(name: str, folder: Path = _FOLDER) -> Script:
    """Return the script in ``<name>.lua``; read once.

    - folder: where it is, by default with the transport's.
    """
    return Script(folder / f"{name}.lua")
