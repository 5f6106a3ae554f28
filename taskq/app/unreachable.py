"""Errors of a broker that can't be used: they name it, its password masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskq import exceptions

__all__ = ("is_refusal", "naming_in_errors", "naming_the_broker", "noting_refusals")

E_UNREACHABLE = "Cannot reach the message broker at {url}: {reason}"
REFUSED_AT = (
    "The message broker at {url} refuses this: check the user, its password and permissions, "
    "and the virtual host."
)


@contextmanager
def naming_the_broker(connection: Any) -> Iterator[None]:
    """Turn errors of a connection into OperationalError with its URL and the reason.

    The reason by itself is the error's attribute of that name. Refusals of RabbitMQ stay what they
    are, and get a note.
    """
    with naming_in_errors(connection), connection._reraise_as_library_errors():
        yield


@contextmanager
def naming_in_errors(connection: Any) -> Iterator[None]:
    """Do what `naming_the_broker` does for errors that are OperationalError already."""
    try:
        with noting_refusals(connection):
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


@contextmanager
def noting_refusals(connection: Any) -> Iterator[None]:
    """Add a note to errors by which RabbitMQ refuses something: its URL, what may be wrong."""
    try:
        yield
    except Exception as exc:
        if is_refusal(exc) and not hasattr(exc, "__notes__"):
            exc.add_note(REFUSED_AT.format(url=connection.as_uri()))
        raise


def is_refusal(exc: BaseException) -> bool:
    """Return whether RabbitMQ does not let somebody in, or lets them not do what they want."""
    kind = type(exc)
    return kind.__module__ == "amqp.exceptions" and kind.__name__ in ("AccessRefused", "NotAllowed")
