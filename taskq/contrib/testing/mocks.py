"""Messages and contexts that need no broker, for tests of code that takes them.

Used by test suites of projects; a `TaskMessage` is what a consumer's callback is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

from kombu.serialization import dumps
from kombu.utils.uuid import uuid


def TaskMessage(  # noqa: N802 - the public name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    shadow: str | None = None,
    utc: bool | None = None,
    **options: Any,
) -> Any:
    """Return a message of a task as protocol 2 has it.

    Parameters:
        name, id, args, kwargs: the task, its id (a new one if not given) and arguments.
        callbacks, errbacks, chain: signatures that follow it.
        shadow: name shown instead of ``name``.
        utc: not used; as in Celery.

    Further options become headers.
    """
    id = id or uuid()
    embed = {
        "callbacks": list(callbacks) if callbacks else None,
        "errbacks": list(errbacks) if errbacks else None,
        "chain": list(chain) if chain else None,
    }
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {"id": id, "task": name, "shadow": shadow, **options}
    message.payload = (tuple(args), dict(kwargs or {}), embed)
    _serialize(message)
    return message


def TaskMessage1(  # noqa: N802 - the public name
    name: str,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] | None = None,
    errbacks: Sequence[Any] | None = None,
    chain: Sequence[Any] | None = None,
    **options: Any,
) -> Any:
    """Return a message of a task as protocol 1 has it; parameters as in `TaskMessage`."""
    id = id or uuid()
    message = Mock(name=f"TaskMessage-{id}")
    message.headers = {}
    message.payload = {
        "task": name,
        "id": id,
        "args": tuple(args),
        "kwargs": dict(kwargs or {}),
        "callbacks": list(callbacks) if callbacks else None,
        "errbacks": list(errbacks) if errbacks else None,
        **options,
    }
    _serialize(message)
    return message


def task_message_from_sig(
    app: Any, sig: Any, utc: bool = True, TaskMessage: Any = TaskMessage
) -> Any:  # noqa: N803
    """Return the message that sending the signature ``sig`` makes.

    - app: app whose results the reply goes to.
    - TaskMessage: `TaskMessage` or `TaskMessage1`.
    """
    sig.freeze()
    options = dict(sig.options)
    now = datetime.now(UTC)
    for_message = {
        "callbacks": [dict(s) for s in _listed(options.pop("link", None))] or None,
        "errbacks": [dict(s) for s in _listed(options.pop("link_error", None))] or None,
        "eta": _moment(options.pop("countdown", None), options.pop("eta", None), now),
        "expires": _moment(options.pop("expires", None), None, now),
    }
    return TaskMessage(
        sig.task,
        id=sig.id,
        args=sig.args,
        kwargs=sig.kwargs,
        utc=utc,
        **for_message,
        **options,
    )


def _moment(seconds: Any, moment: Any, now: datetime) -> str | None:
    if isinstance(seconds, (int, float)):
        moment = now + timedelta(seconds=seconds)
    elif seconds is not None:
        moment = seconds
    return moment.isoformat() if isinstance(moment, datetime) else moment


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _serialize(message: Any) -> None:
    message.content_type, message.content_encoding, message.body = dumps(
        message.payload, serializer="json"
    )


class _ContextMock(Mock):
    """A mock that is a context manager; ``Mock`` has no such methods of its own."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        return None


def ContextMock(*args: Any, **kwargs: Any) -> Any:  # noqa: N802 - the public name
    """Return a mock that can be used in ``with``, where it gives itself."""
    return _ContextMock(*args, **kwargs)
