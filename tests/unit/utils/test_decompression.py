"""Compressed bodies are unpacked up to a limit and no further."""

from __future__ import annotations

import tracemalloc

import pytest
from kombu import compression

from taskq.utils.decompression import TooLarge, limit_decompression

LIMIT = 10_000
NAMES = ["gzip", "bzip2", "lzma", "brotli", "zstd"]


@pytest.fixture
def limited():
    """The limit is on, for all that is installed; afterwards it is off."""
    before = [
        (compression.get_encoder(name)[0], compression.get_decoder(name), name)
        for name in compression.encoders()
    ]
    limit_decompression(LIMIT)
    yield
    for encode, decode, name in before:
        compression.register(encode, decode, name)


@pytest.fixture(params=NAMES)
def name(request, limited):
    try:
        compression.get_decoder(request.param)
    except KeyError:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.mark.parametrize("size", [0, 1, LIMIT])
def test_what_is_allowed_is_unpacked(name, size):
    packed, _ = compression.compress(b"x" * size, name)
    assert compression.decompress(packed, name) == b"x" * size


def test_one_byte_more_is_refused(name):
    packed, _ = compression.compress(b"x" * (LIMIT + 1), name)
    with pytest.raises(TooLarge, match="task_max_decompressed_size"):
        compression.decompress(packed, name)


def test_a_bomb_does_not_take_the_memory(name):
    packed, _ = compression.compress(b"\0" * 50_000_000, name)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            compression.decompress(packed, name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 25_000_000  # lzma keeps a window of 8 MB


def test_half_a_body_is_an_error(name):
    packed, _ = compression.compress(bytes(range(256)) * 30, name)
    with pytest.raises(ValueError, match="incomplete"):
        compression.decompress(packed[: len(packed) // 2], name)


def test_no_limit_changes_nothing():
    before = compression.get_decoder("gzip")
    limit_decompression(0)
    limit_decompression(None)
    assert compression.get_decoder("gzip") is before
