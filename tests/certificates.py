"""Keys and certificates for tests of signed messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("cryptography", reason="needs the 'auth' extra")

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)


@cache
def key_of(name: str) -> Any:
    """The RSA key of a name; making one takes a while, so each is made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_pem(name: str, password: bytes | None = None) -> bytes:
    """The key of a name as a file holds it."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key_of(name).private_bytes(  # type: ignore[no-any-return]
        Encoding.PEM, PrivateFormat.PKCS8, encryption
    )


def certificate_pem(
    name: str, *, serial: int = 7, ends: timedelta = timedelta(days=1), key: Any = None
) -> bytes:
    """A certificate that the owner of a key gave itself; its time is over after ``ends``."""
    key = key or key_of(name)
    who = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Tests"),
        ]
    )
    end = datetime.now(UTC) + ends
    builder = x509.CertificateBuilder().subject_name(who).issuer_name(who)
    builder = builder.public_key(key.public_key()).serial_number(serial)
    builder = builder.not_valid_before(end - timedelta(days=9)).not_valid_after(end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def elliptic_key() -> Any:
    """A key that is not RSA."""
    return ec.generate_private_key(ec.SECP256R1())


class Keyring:
    """A directory with keys, and a store of certificates in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = directory / "trusted"
        self.store.mkdir(parents=True)

    def add(
        self, name: str, *, trusted: bool = True, password: bytes | None = None, **certificate: Any
    ) -> None:
        """Give somebody a key and a certificate."""
        pem = certificate_pem(name, **certificate)
        (self.directory / f"{name}.key").write_bytes(key_pem(name, password))
        (self.directory / f"{name}.pem").write_bytes(pem)
        if trusted:
            (self.store / f"{name}.pem").write_bytes(pem)

    def settings(self, name: str) -> dict[str, Any]:
        """The settings with which an app signs as somebody."""
        return {
            "security_key": str(self.directory / f"{name}.key"),
            "security_certificate": str(self.directory / f"{name}.pem"),
            "security_cert_store": str(self.store),
            "task_serializer": "auth",
            "result_serializer": "auth",
            "event_serializer": "auth",
            "accept_content": ["auth"],
        }
