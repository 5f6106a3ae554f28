"""Unpacking compressed message bodies without letting a small message fill the memory.

kombu unpacks what it receives with the decoders of its registry; `limit_decompression` puts
decoders there that stop. Called when a worker starts.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from kombu import compression

__all__ = ("TooLarge", "limit_decompression")

#: kombu's name of a compression -> what makes a decompressor with ``decompress(data, max_length)``.
_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}
#: Bytes of brotli given to a decompressor at a time, where it knows no limit.
_BROTLI_PIECE = 64

E_INCOMPLETE = "A compressed body of %d bytes is incomplete"


class TooLarge(ValueError):
    """A compressed body is larger than allowed when it is unpacked."""

    def __init__(self, limit: int, packed: int) -> None:
        super().__init__(
            f"A compressed body of {packed} bytes has more than {limit} bytes when unpacked, "
            "which task_max_decompressed_size does not allow"
        )


def limit_decompression(limit: int | None) -> None:
    """Have this process refuse compressed bodies of more than ``limit`` bytes unpacked.

    None and 0: any size.
    """
    if not limit:
        return
    for name in compression.encoders():
        encode, _ = compression.get_encoder(name)
        decode = _bounded(name, limit)
        if decode is not None:
            compression.register(encode, decode, name)


def _bounded(name: str, limit: int) -> Callable[[bytes], bytes] | None:
    make = _DECOMPRESSORS.get(name)
    if name == "application/zstd":
        make = _zstd()
    elif name == "application/x-brotli":
        return lambda data: _unbrotli(data, limit)
    if make is None:
        return None
    return lambda data: _decompress(make(), data, limit)


def _decompress(decompressor: Any, data: bytes, limit: int) -> bytes:
    # One byte more than allowed tells that there is more.
    unpacked: bytes = decompressor.decompress(data, limit + 1)
    if len(unpacked) > limit:
        raise TooLarge(limit, len(data))
    if not decompressor.eof:
        raise ValueError(E_INCOMPLETE % len(data))
    return unpacked


def _zstd() -> Callable[[], Any]:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    made: Callable[[], Any] = import_module(name).ZstdDecompressor
    return made


def _unbrotli(data: bytes, limit: int) -> bytes:
    decompressor = import_module("brotli").Decompressor()  # kombu has registered it
    unpacked = bytearray()
    for piece in _brotli_pieces(decompressor, data, limit):
        unpacked += piece
        if len(unpacked) > limit:
            raise TooLarge(limit, len(data))
    if not decompressor.is_finished():
        raise ValueError(E_INCOMPLETE % len(data))
    return bytes(unpacked)


def _brotli_pieces(decompressor: Any, data: bytes, limit: int) -> Iterator[bytes]:
    try:
        yield decompressor.process(data, output_buffer_limit=limit + 1)
    except TypeError:  # before brotli 1.2
        for start in range(0, len(data), _BROTLI_PIECE):
            yield decompressor.process(data[start : start + _BROTLI_PIECE])
