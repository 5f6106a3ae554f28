"""Compression of stored results, in Celery's format: a marker, the method's name, the bytes.

Used by backends that set ``supports_result_compression``.
"""

from __future__ import annotations

from kombu import compression as methods

from taskq.exceptions import ImproperlyConfigured

__all__ = (
    "COMPRESSED_PAYLOAD_MAGIC",
    "check_compression",
    "compress_payload",
    "decompress_payload",
)

#: Starts a compressed payload; no serializer writes a NUL first.
COMPRESSED_PAYLOAD_MAGIC = b"\x00celery-compressed\x00"

E_UNKNOWN_COMPRESSION = """\
Unknown compression method {0!r} configured in result_compression.
Available methods are: {1}.
"""


def check_compression(method: str | None) -> str | None:
    """Return `method`; raises ImproperlyConfigured when kombu does not know it."""
    if method is None:
        return None
    try:
        methods.get_encoder(method)
    except KeyError:
        known = ", ".join(sorted(methods.encoders()))
        raise ImproperlyConfigured(E_UNKNOWN_COMPRESSION.format(method, known)) from None
    return method


def compress_payload(payload: str | bytes, compression: str) -> bytes:
    """Return the serialized `payload` compressed with the kombu method named `compression`."""
    data = payload.encode() if isinstance(payload, str) else payload
    body, content_type = methods.compress(data, compression)
    compressed: bytes = COMPRESSED_PAYLOAD_MAGIC + content_type.encode() + b"\x00" + body
    return compressed


def decompress_payload(payload: str | bytes) -> str | bytes:
    """Return what `compress_payload` was given; what is not compressed comes back as it is."""
    if not isinstance(payload, bytes) or not payload.startswith(COMPRESSED_PAYLOAD_MAGIC):
        return payload
    content_type, _, body = payload[len(COMPRESSED_PAYLOAD_MAGIC) :].partition(b"\x00")
    plain: bytes = methods.decompress(body, content_type.decode())
    return plain
