"""Errors a user can mend, told as a message with the value, what was tried and what to do.

Used by the command classes, so that no command of ours ends in a bare traceback for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskq.utils.command_error import CeleryCommandException

#: Exit status when no worker or no broker answers.
EX_UNAVAILABLE: int = getattr(os, "EX_UNAVAILABLE", 69)
EX_FAILURE = 1

NO_BROKER = """\
Cannot reach the message broker{where}: {reason}
Check that it runs and that the URL is right: it is taken from --broker, then from
TASKQ_BROKER_URL or CELERY_BROKER_URL, then from the app's broker_url.
To try taskq without a server, use a file as broker: --broker sqlite:///taskq.db"""

REFUSED = """\
The message broker{where} refuses this: {reason}
Check the user, its password and permissions, and the virtual host in the URL: it is taken from
--broker, then from TASKQ_BROKER_URL or CELERY_BROKER_URL, then from the app's broker_url."""

NO_TRANSPORT = """\
{reason}. The broker's URL begins with the name of its kind, such as redis://, amqp://, sqs:// or
sqlite:///; check --broker, TASKQ_BROKER_URL, CELERY_BROKER_URL and the app's broker_url."""

NO_BACKEND = """\
Cannot reach the result backend{where}: {reason}
Check that it runs and that the URL is right: it is taken from --result-backend, then from
TASKQ_RESULT_BACKEND or CELERY_RESULT_BACKEND, then from the app's result_backend."""


class CommandError(CeleryCommandException):
    """Ends a command with a message on stderr and ``exit_code`` as the process's status."""

    def __init__(self, message: str, exit_code: int = EX_FAILURE) -> None:
        super().__init__(message, exit_code)


def handle_remote_command_error(command: str, exc: Exception) -> None:
    """End a command that talks to workers because the broker could not be reached.

    - command: name of the remote command that was sent.
    - exc: what the connection raised.

    Raises CeleryCommandException with exit status 69.
    """
    message = NO_BROKER.format(where="", reason=_reason(exc))
    raise CommandError(f"The command {command!r} was not sent. {message}", EX_UNAVAILABLE) from exc


@contextmanager
def explained(app: Any | None) -> Iterator[None]:
    """Turn broker, configuration and security errors of the body into a message and a status.

    - app: the app in use, to name its broker; None before one is loaded.
    """
    from kombu.exceptions import OperationalError  # start-up: a command that runs has it anyway

    from taskq.app.unreachable import is_refusal
    from taskq.exceptions import ImproperlyConfigured, SecurityError

    try:
        yield
    except BrokenPipeError:
        raise  # of our output, as in `taskq list bindings | head`; click ends quietly
    except (OperationalError, ConnectionError) as exc:
        raise CommandError(
            NO_BROKER.format(where=_at(_broker_url(app)), reason=_reason(exc)), EX_UNAVAILABLE
        ) from exc
    except (ImproperlyConfigured, SecurityError) as exc:
        raise CommandError(_reason(exc)) from exc
    except KeyError as exc:
        if not str(exc.args[0] if exc.args else "").startswith("No such transport"):
            raise
        raise CommandError(NO_TRANSPORT.format(reason=exc.args[0])) from exc
    except Exception as exc:
        if is_refusal(exc):
            where, reason = _at(_broker_url(app)), getattr(exc, "reply_text", exc)
            message = REFUSED.format(where=where, reason=reason)
            raise CommandError(message, EX_UNAVAILABLE) from exc
        # SQL databases are opened when the backend is made, which any command may do.
        if app is None or not type(exc).__module__.startswith("sqlalchemy.") or not _is_away(exc):
            raise
        raise _no_backend(app, exc) from exc


@contextmanager
def backend_explained(app: Any) -> Iterator[None]:
    """Turn errors of reaching the app's result backend into a message and a status."""
    try:
        yield
    except Exception as exc:
        if str(app.conf.result_backend).startswith("rpc") or not _is_away(exc):
            raise  # results that come as messages are away when the broker is
        raise _no_backend(app, exc) from exc


def _no_backend(app: Any, exc: Exception) -> CommandError:
    from kombu.utils.url import maybe_sanitize_url  # start-up: a command that runs has it anyway

    url = maybe_sanitize_url(str(app.conf.result_backend or ""))
    return CommandError(NO_BACKEND.format(where=_at(url), reason=_reason(exc)), EX_UNAVAILABLE)


#: What the libraries of stores call the error of one that is away or lets nobody in.
_CONNECTION_ERRORS = frozenset({"ConnectionError", "ConnectionFailure", "OperationalError"})


def _is_away(exc: Exception) -> bool:
    """Return whether an error says that a result store is away, and not something of a task."""
    return any(cls.__name__ in _CONNECTION_ERRORS for cls in type(exc).__mro__)


def _broker_url(app: Any | None) -> str | None:
    if app is None:
        return None
    return str(app.connection_for_write().as_uri())


def _at(url: str | None) -> str:
    return f" at {url}" if url else ""


def _reason(exc: BaseException) -> str:
    return str(getattr(exc, "reason", None) or exc).strip() or type(exc).__name__
