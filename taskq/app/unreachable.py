"""The error of a message that could not be sent: it names the broker, its password masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskq import exceptions

__all__ = ("naming_the_broker",)

E_UNREACHABLE = "Cannot reach the message broker at {url}: {reason}"


@contextmanager
def naming_the_broker(connection: Any) -> Iterator[None]:
    """Turn errors of a connection into OperationalError with its URL and the reason.

    The reason by itself is the error's attribute of that name.
    """
    try:
        with connection._reraise_as_library_errors():
            yield
    except exceptions.OperationalError as exc:  # found when needed: kombu's are slow to import
        # Those of our own transports, which are of subclasses, name their file already.
        if type(exc) is not exceptions.OperationalError or hasattr(exc, "reason"):
            raise
        reason = str(exc) or repr(exc.__cause__ or exc)
        named: Any = exceptions.OperationalError(
            E_UNREACHABLE.format(url=connection.as_uri(), reason=reason)
        )
        named.reason = reason
        raise named from exc.__cause__ or exc
