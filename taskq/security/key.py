"""The private key that signs."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from kombu.utils.encoding import ensure_bytes

from taskq.exceptions import SecurityError
from taskq.security.certificate import Certificate
from taskq.security.utils import reraise_errors

__all__ = ("PrivateKey",)


class PrivateKey:
    """An RSA private key.

    Parameters:
        key: the key in PEM format.
        password: what it is encrypted with, if it is.

    Raises SecurityError for something else, or a password that is wrong or missing.
    """

    def __init__(self, key: str | bytes, password: str | bytes | None = None) -> None:
        with reraise_errors("Can't use the private key (security_key, security_key_password): {0}"):
            loaded = load_pem_private_key(
                ensure_bytes(key), password=ensure_bytes(password) if password else None
            )
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise SecurityError(
                f"Can't use the private key (security_key): it must be an RSA key, "
                f"not {type(loaded).__name__}"
            )
        self._key = loaded

    def sign(self, data: str | bytes, digest: HashAlgorithm) -> bytes:
        """Return the signature of ``data`` (RSA-PSS, with the longest salt)."""
        pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)
        with reraise_errors("Can't sign with the private key: {0!r}"):
            return self._key.sign(ensure_bytes(data), pss, digest)

    def fits(self, certificate: Certificate) -> bool:
        """Whether the certificate is that of this key."""
        public = self._key.public_key().public_numbers()
        return public == certificate.get_pubkey().public_numbers()
