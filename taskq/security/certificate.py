"""Certificates: whose signature is whose, and which ones are trusted."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.x509 import load_pem_x509_certificate
from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskq.exceptions import SecurityError, SecurityWarning
from taskq.security.utils import reraise_errors

__all__ = ("CertStore", "Certificate", "FSCertStore")


class Certificate:
    """An X.509 certificate of an RSA key.

    Parameters:
        cert: the certificate in PEM format.

    Raises SecurityError for anything else.
    """

    def __init__(self, cert: str | bytes) -> None:
        with reraise_errors("Invalid certificate: {0}"):
            self._cert = load_pem_x509_certificate(ensure_bytes(cert))
            public_key = self._cert.public_key()
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise SecurityError(
                f"Invalid certificate: its key must be RSA, not {type(public_key).__name__}"
            )
        self._public_key = public_key
        self._id = f"{self.get_issuer()} {self.get_serial_number()}"

    def has_expired(self) -> bool:
        """Whether its time is over."""
        return datetime.now(UTC) >= self._cert.not_valid_after_utc

    def get_pubkey(self) -> rsa.RSAPublicKey:
        """Return the public key."""
        return self._public_key

    def get_serial_number(self) -> int:
        """Return the number its issuer gave it."""
        return self._cert.serial_number

    def get_issuer(self) -> str:
        """Return the parts of the issuer's name, with spaces between them."""
        return " ".join(bytes_to_str(part.value) for part in self._cert.issuer)

    def get_id(self) -> str:
        """Return issuer and serial number, by which a message names its signer."""
        return self._id

    def verify(self, data: str | bytes, signature: bytes, digest: HashAlgorithm) -> None:
        """Raise SecurityError unless ``signature`` of ``data`` was made with this one's key."""
        pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)
        with reraise_errors(
            f"Bad signature: it is not that of certificate {self._id!r} on this message, or it was "
            "made with another security_digest"
        ):
            self._public_key.verify(signature, ensure_bytes(data), pss, digest)


class CertStore:
    """The certificates that are trusted."""

    def __init__(self) -> None:
        self._certs: dict[str, Certificate] = {}

    def __getitem__(self, id: str | bytes) -> Certificate:
        """Return the certificate of an id. Raises SecurityError for an unknown one."""
        try:
            return self._certs[bytes_to_str(id)]
        except (KeyError, UnicodeDecodeError):
            raise SecurityError(f"Unknown certificate: {id!r} is not in the store") from None

    def itercerts(self) -> Iterator[Certificate]:
        """Go through the certificates."""
        return iter(self._certs.values())

    def add_cert(self, cert: Certificate) -> None:
        """Trust a certificate. Raises SecurityError for one with the id of another."""
        id = bytes_to_str(cert.get_id())
        if id in self._certs:
            raise SecurityError(f"Duplicate certificate: {id!r}")
        self._certs[id] = cert


class FSCertStore(CertStore):
    """The certificates in files.

    Parameters:
        path: a directory, or a pattern such as ``/etc/certs/*.pem``.

    Raises SecurityError, naming the file, for one that is no certificate, or is out of date.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path = os.fspath(path)
        pattern = os.path.join(self._path, "*") if os.path.isdir(self._path) else self._path
        for name in sorted(glob.glob(pattern)):
            self._add_file(name)
        if not self._certs:
            warnings.warn(
                SecurityWarning(
                    f"security_cert_store: no certificate in {self._path!r}, so no signed message "
                    "will be accepted"
                ),
                stacklevel=2,
            )

    def _add_file(self, name: str) -> None:
        try:
            cert = Certificate(Path(name).read_bytes())
            if cert.has_expired():
                raise SecurityError(f"Expired certificate: {cert.get_id()!r}")
            self.add_cert(cert)
        except SecurityError as exc:
            raise SecurityError(
                f"{exc} (file {name!r}). The store holds certificates only: take out what else "
                "is there, or give a pattern such as '*.pem'"
            ) from exc
