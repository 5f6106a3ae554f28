"""What to say when a call's arguments can't be serialised: which of them, and with what.

Called only once serialising has failed, so it may take its time.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from kombu.exceptions import EncodeError
from kombu.serialization import dumps

from taskq.canvas.signature import plain
from taskq.utils.functional import maybe_list

__all__ = ("explained", "without_signatures")

#: How deep to look into an argument for the part that is to blame.
_MAX_DEPTH = 6


def explained(
    error: EncodeError,
    name: str,
    args: Any,
    kwargs: Any,
    serializer: str,
    task: Any = None,
    embed: Any = None,
) -> EncodeError:
    """Return an error like ``error`` that names the argument and the serializer.

    - name: of the task; args, kwargs: of the call.
    - task: the task when it is known, for the names of its parameters.
    - embed: the part of the message's body with the signatures that follow the call.
    """
    for parameter, path, value in _arguments(args, kwargs, task):
        if _fails(value, serializer):
            where, culprit = _narrow(path, value, serializer)
            label = f"argument {parameter!r} ({where})" if parameter else f"argument {where}"
            return _blaming(label, culprit, name, serializer, error)
    for relation, sig in _following(embed):
        for _, path, value in _arguments(sig.get("args"), sig.get("kwargs"), None):
            if _fails(plain(value), serializer):
                where, culprit = _narrow(path, plain(value), serializer)
                label = f"argument {where} of {sig.get('task')}, one of its {relation},"
                return _blaming(label, culprit, name, serializer, error)
    return EncodeError(f"Can't send {name} with serializer {serializer!r}: {error}")


def _blaming(
    label: str, culprit: Any, name: str, serializer: str, error: EncodeError
) -> EncodeError:
    return EncodeError(
        f"Can't send {name}: {label} is of type {type(culprit).__qualname__}, which "
        f"serializer {serializer!r} can't encode ({error}). Pass plain data such as "
        "an id, or choose another serializer."
    )


def _following(embed: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the signatures that follow a call, each with what it is to the call."""
    names = {
        "chain": "successors in the chain",
        "chord": "chord's bodies",
        "callbacks": "callbacks",
        "errbacks": "error callbacks",
    }
    for key, relation in names.items():
        for sig in maybe_list((embed or {}).get(key)) or ():
            if isinstance(sig, Mapping):
                yield relation, sig


def without_signatures(message: Any, serializer: str) -> Any:
    """Return a message with plain dicts for signatures, None when that doesn't help.

    Signatures are dicts to most serializers, but not to all.
    """
    simpler = message._replace(body=plain(message.body))
    return None if _fails(simpler.body, serializer) else simpler


def _arguments(args: Any, kwargs: Any, task: Any) -> Iterator[tuple[str | None, str, Any]]:
    """Yield the parameter's name if known, the place, and the value of each argument."""
    names = _parameter_names(task)
    for index, value in enumerate(args or ()):
        yield (names[index] if index < len(names) else None), f"args[{index}]", value
    for key, value in (kwargs or {}).items():
        yield None, f"kwargs[{key!r}]", value


def _parameter_names(task: Any) -> list[str]:
    if task is None:
        return []
    try:
        parameters = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _fails(value: Any, serializer: str) -> bool:
    try:
        dumps(value, serializer)
    except Exception:
        return True
    return False


def _narrow(path: str, value: Any, serializer: str) -> tuple[str, Any]:
    """Return the innermost part of a container that can't be serialised."""
    for _ in range(_MAX_DEPTH):
        for key, part in _parts(value):
            if _fails(part, serializer):
                path, value = f"{path}[{key!r}]", part
                break
        else:
            return path, value
    return path, value


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
