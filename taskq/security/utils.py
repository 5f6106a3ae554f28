"""Small parts that signing and verifying share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from taskq.exceptions import ImproperlyConfigured, SecurityError, SecurityWarning

__all__ = ("get_digest_algorithm", "reraise_errors")

#: Hash functions for which two texts of the same hash can be made.
BROKEN_DIGESTS = frozenset({"md5", "sha1"})

#: What cryptography raises for keys, certificates, signatures and passwords that are no good.
CRYPTO_ERRORS = (InvalidSignature, ValueError, TypeError)


def get_digest_algorithm(digest: str = "sha256") -> hashes.HashAlgorithm:
    """Return the hash function of a name such as ``sha256``, ``sha512`` or ``sha3_256``.

    Warns of one that is broken. Raises ImproperlyConfigured for a name that is none.
    """
    algorithm = getattr(hashes, str(digest).upper(), None)
    if not (isinstance(algorithm, type) and issubclass(algorithm, hashes.HashAlgorithm)):
        raise ImproperlyConfigured(
            f"security_digest: there is no hash function {digest!r}; "
            "sha256, sha384, sha512 and sha3_256 are some of them"
        )
    if str(digest).lower() in BROKEN_DIGESTS:
        warnings.warn(
            SecurityWarning(
                f"security_digest={digest!r} is broken: two messages with one signature can be "
                "made. Use sha256 or longer."
            ),
            stacklevel=2,
        )
    return algorithm()


@contextmanager
def reraise_errors(
    msg: str = "{0!r}", errors: tuple[type[BaseException], ...] | None = None
) -> Iterator[None]:
    """Turn errors of the block into `SecurityError`.

    Parameters:
        msg: text of the new error, a format with the caught error as its argument.
        errors: classes to catch; what cryptography raises by default.
    """
    caught = errors or CRYPTO_ERRORS
    try:
        yield
    except caught as exc:
        raise SecurityError(msg.format(exc)) from exc
