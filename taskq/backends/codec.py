"""How a backend turns results into bytes and back: serializer, compression, exceptions.

`BackendCore` inherits it; `encode_result` and `decode_result` are the two doors.
"""

from __future__ import annotations

import warnings
from json import JSONDecoder
from typing import Any

from kombu.exceptions import DecodeError
from kombu.serialization import dumps, loads, prepare_accept_content
from kombu.serialization import registry as serializer_registry
from kombu.utils import json as kombu_json

from taskq import states
from taskq.backends.compression import check_compression, compress_payload, decompress_payload
from taskq.backends.failures import exception_from_stored, exception_to_stored
from taskq.backends.handles import ResultBase, to_stored_tuple
from taskq.utils.jsontext import encode_json

__all__ = ("ResultCodec",)

#: What kombu's json serializer does, without building a decoder for each call.
_decode_json = JSONDecoder(object_hook=kombu_json.object_hook).decode

W_COMPRESSION_UNSUPPORTED = """\
The {0} result backend cannot store compressed payloads, so the
result_compression setting is ignored and results are stored uncompressed.
"""


class ResultCodec:
    """Serializes results and metas with the app's result settings."""

    EXCEPTION_STATES = states.EXCEPTION_STATES

    #: The store can keep arbitrary bytes, so `result_compression` takes effect.
    supports_result_compression: bool = False

    app: Any
    serializer: str
    content_type: str
    content_encoding: str
    accept: Any
    compression: str | None
    encoder: Any
    _encodes_plain_json: bool
    _decodes_plain_json: bool

    def _init_codec(self, serializer: str | None, accept: Any) -> None:
        conf = self.app.conf
        self.serializer = serializer or conf.result_serializer
        codec = serializer_registry._encoders[self.serializer]
        self.content_type, self.content_encoding, self.encoder = codec
        self.compression = self.prepare_compression(conf.result_compression)
        accept = conf.result_accept_content if accept is None else accept
        accept = conf.accept_content if accept is None else accept
        self.accept = prepare_accept_content(accept)
        # A json serializer that somebody registered instead of kombu's is used as it is.
        self._encodes_plain_json = self.encoder is kombu_json.dumps
        decoder = serializer_registry._decoders.get("application/json")
        self._decodes_plain_json = (
            self.content_type == "application/json"
            and decoder is kombu_json.loads
            and (self.accept is None or self.content_type in self.accept)
        )

    def prepare_compression(self, compression: str | None) -> str | None:
        """Return the method to compress with, None where the store cannot keep bytes.

        Raises:
            ImproperlyConfigured: there is no such method.
        """
        if compression is None:
            return None
        check_compression(compression)
        if not self.supports_result_compression:
            warnings.warn(W_COMPRESSION_UNSUPPORTED.format(type(self).__name__), stacklevel=2)
            return None
        return compression

    def encode(self, data: Any) -> Any:
        """Return `data` serialized, and compressed if results are to be."""
        payload = self._encode(data)[2]
        return compress_payload(payload, self.compression) if self.compression else payload

    def _encode(self, data: Any) -> tuple[str, str, Any]:
        """Return ``(content_type, content_encoding, payload)`` of the serialized `data`."""
        if self._encodes_plain_json:
            try:
                return self.content_type, self.content_encoding, encode_json(data)
            except Exception:
                pass  # the slower way says what is wrong with it
        encoded: tuple[str, str, Any] = dumps(data, serializer=self.serializer)
        return encoded

    def decode(self, payload: Any) -> Any:
        """Return the data that `encode` made `payload` of."""
        if payload is None:
            return None
        payload = decompress_payload(payload)
        if self._decodes_plain_json:
            try:
                return _decode_json(payload if isinstance(payload, str) else str(payload, "utf-8"))
            except Exception as exc:
                raise DecodeError(exc) from exc
        return loads(
            payload,
            content_type=self.content_type,
            content_encoding=self.content_encoding,
            accept=self.accept,
        )

    def encode_result(self, result: Any, state: str) -> Any:
        """Return the result value as it goes into the meta of a task in `state`."""
        if isinstance(result, BaseException) and state in self.EXCEPTION_STATES:
            return self.prepare_exception(result)
        return self.prepare_value(result)

    def decode_result(self, payload: Any) -> Any:
        """Return the meta in a stored `payload`, with exceptions as instances."""
        return self.meta_from_decoded(self.decode(payload))

    def meta_from_decoded(self, meta: Any) -> Any:
        """Return `meta` with its result made an exception where the state says it is one."""
        if meta["status"] in self.EXCEPTION_STATES:
            meta["result"] = self.exception_to_python(meta["result"])
        return meta

    def prepare_value(self, result: Any) -> Any:
        """Return a task's return value ready to be serialized; handles become tuples."""
        if self.serializer != "pickle" and isinstance(result, ResultBase):
            return to_stored_tuple(result)
        return result

    def prepare_exception(self, exc: Any, serializer: str | None = None) -> Any:
        """Return an exception ready to be serialized.

        Parameters:
            exc: the exception.
            serializer: name of the serializer; this backend's when None.
        """
        return exception_to_stored(exc, serializer or self.serializer, self.encode)

    def exception_to_python(self, exc: Any) -> BaseException | None:
        """Return the exception instance for what `prepare_exception` returned."""
        return exception_from_stored(exc, self.serializer)
