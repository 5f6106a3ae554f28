"""What the result stores at Amazon share: the client of a process, and which errors pass."""

from __future__ import annotations

from typing import Any

__all__ = ("error_code", "make_client", "passes")

#: Answers after which the same request may work.
PASSING_CODES = frozenset(
    {
        "InternalError",
        "InternalServerError",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "ThrottlingException",
        "TransactionConflictException",
    }
)


def make_client(service: str, *, region: Any, endpoint_url: Any, key_id: Any, secret: Any) -> Any:
    """Return a boto3 client; without a key it looks for one in its usual places.

    Raises ModuleNotFoundError when boto3 is not installed.
    """
    import boto3  # optional, and slow to import

    # A session of our own: the default one is not to be shared by threads.
    session = boto3.session.Session(
        aws_access_key_id=key_id or None,
        aws_secret_access_key=secret or None,
        region_name=region or None,
    )
    return session.client(service, endpoint_url=endpoint_url or None)


def error_code(exc: BaseException) -> str:
    """Return the code in an answer of the service; empty for other errors."""
    response = getattr(exc, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def passes(exc: BaseException) -> bool:
    """Tell whether an error is one of the connection, or the service's to get over."""
    from botocore.exceptions import ConnectionError, HTTPClientError  # loaded with the client

    return isinstance(exc, (ConnectionError, HTTPClientError)) or error_code(exc) in PASSING_CODES
