"""The ``auth`` serializer: bodies with a signature.

A message is base64 of five fields with `SEPARATOR` between them: the signer's id (base64), the
signature (base64), content type and encoding of the body, and the body. The signature is the
body's: headers of a message, such as the name of the task, are not in it.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from kombu.serialization import dumps, loads, registry
from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskq.exceptions import SecurityError
from taskq.security.certificate import Certificate, CertStore, FSCertStore
from taskq.security.key import PrivateKey
from taskq.security.utils import get_digest_algorithm, reraise_errors
from taskq.utils.serialization import b64decode, b64encode

__all__ = ("SecureSerializer", "register_auth")

#: Between the fields of a message; in the body it may occur as well.
DEFAULT_SEPARATOR = b"\x00\x01"

#: Content type of signed messages.
CONTENT_TYPE = "application/data"


class _Signed(NamedTuple):
    """The fields of a message."""

    signer: str
    signature: bytes
    content_type: str
    content_encoding: str
    body: bytes


class SecureSerializer:
    """Signs and verifies.

    Parameters:
        key: the key to sign with; needed to serialize.
        cert: the certificate that belongs to it; needed to serialize.
        cert_store: the certificates to trust; needed to deserialize.
        digest: name of the hash function, the same on both sides.
        serializer: what turns data into the bytes that are signed. Bodies in JSON and in this
            serializer's format are read, and in formats that kombu may read without being asked.
    """

    def __init__(
        self,
        key: PrivateKey | None = None,
        cert: Certificate | None = None,
        cert_store: CertStore | None = None,
        digest: str = "sha256",
        serializer: str = "json",
    ) -> None:
        self._key = key
        self._cert = cert
        self._cert_store = cert_store
        self._digest = get_digest_algorithm(digest)
        self._serializer = serializer
        if serializer not in registry._encoders:
            raise SecurityError(
                f"There is no serializer {serializer!r} to write signed bodies with; "
                f"there are: {', '.join(sorted(map(str, registry._encoders)))}"
            )
        self._own_types = {"application/json", registry._encoders[serializer].content_type}

    def serialize(self, data: Any) -> str:
        """Return ``data`` with a signature. Raises SecurityError when that can't be done."""
        if self._key is None or self._cert is None:
            raise SecurityError("Signing a message needs a private key and its certificate")
        content_type, content_encoding, body = dumps(data, serializer=self._serializer)
        body = ensure_bytes(body)
        return self._pack(
            body,
            content_type,
            content_encoding,
            signer=self._cert.get_id(),
            signature=self._key.sign(body, self._digest),
        )

    def deserialize(self, data: str | bytes) -> Any:
        """Return the data of a message that a trusted certificate's owner signed.

        Raises SecurityError for any other.
        """
        if self._cert_store is None:
            raise SecurityError("Verifying a message needs a store of trusted certificates")
        signed = self._unpack(data)
        cert = self._cert_store[signed.signer]
        # The store was read when the process started; time went on since.
        if cert.has_expired():
            raise SecurityError(f"Expired certificate: {cert.get_id()!r} signed this message")
        cert.verify(signed.body, signed.signature, self._digest)
        return self._load(signed)

    def _load(self, signed: _Signed) -> Any:
        # The content type is not signed: taking any would let others choose how a body is read.
        ours = signed.content_type in self._own_types
        if not ours and (
            signed.content_type not in registry._decoders
            or signed.content_type in registry._disabled_content_types
        ):
            raise SecurityError(
                f"Refusing signed content of type {signed.content_type!r}: "
                "give setup_security() its serializer, or allow it in allowed_serializers"
            )
        return loads(signed.body, signed.content_type, signed.content_encoding, force=ours)

    def _pack(
        self,
        body: bytes,
        content_type: str,
        content_encoding: str,
        signer: str | bytes,
        signature: bytes,
        sep: bytes = DEFAULT_SEPARATOR,
    ) -> str:
        fields = (
            ensure_bytes(b64encode(signer)),
            ensure_bytes(b64encode(signature)),
            ensure_bytes(content_type),
            ensure_bytes(content_encoding),
            body,
        )
        return b64encode(sep.join(fields))

    def _unpack(self, payload: str | bytes, sep: bytes = DEFAULT_SEPARATOR) -> _Signed:
        with reraise_errors("Not a signed message: {0}"):
            fields = b64decode(payload).split(sep, 4)
            if len(fields) != 5:
                raise ValueError(f"it has {len(fields)} of 5 fields")
            signer, signature, content_type, content_encoding, body = fields
            return _Signed(
                bytes_to_str(b64decode(signer)),
                b64decode(signature),
                bytes_to_str(content_type),
                bytes_to_str(content_encoding),
                body,
            )


def register_auth(
    key: str | bytes | None = None,
    key_password: str | bytes | None = None,
    cert: str | bytes | None = None,
    store: str | os.PathLike[str] | None = None,
    digest: str = "sha256",
    serializer: str = "json",
) -> None:
    """Make ``auth`` a serializer of this process.

    Parameters:
        key: the private key, in PEM format; without it nothing can be signed.
        key_password: what it is encrypted with.
        cert: its certificate, in PEM format.
        store: directory or pattern of the trusted certificates; without it nothing can be read.
        digest: name of the hash function.
        serializer: what turns data into the bytes that are signed.
    """
    private_key = PrivateKey(key, password=key_password) if key else None
    certificate = Certificate(cert) if cert else None
    if private_key is not None and certificate is not None and not private_key.fits(certificate):
        raise SecurityError(
            f"The private key (security_key) is not that of certificate {certificate.get_id()!r} "
            "(security_certificate): nobody could verify what it signs"
        )
    secure = SecureSerializer(
        private_key,
        certificate,
        FSCertStore(store) if store else None,
        digest=digest,
        serializer=serializer,
    )
    registry.register(
        "auth",
        secure.serialize,
        secure.deserialize,
        content_type=CONTENT_TYPE,
        content_encoding="utf-8",
    )
