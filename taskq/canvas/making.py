"""Signatures from whatever describes one, and plain data from signatures.

Below the classes of signatures, which it finds in the table of kinds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.canvas.kinds import AnySignature, simple_signature

__all__ = (
    "copied_options",
    "maybe_signature",
    "maybe_subtask",
    "plain",
    "signature",
    "subtask",
)


def copied_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of options that shares no list with them.

    The body of a chord, which each task of the header has, stays shared: nobody changes it.
    """
    copy = dict(options)
    for key, value in copy.items():
        if value.__class__ is list:
            copy[key] = [item.clone() if isinstance(item, AnySignature) else item for item in value]
    return copy


def signature(varies: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a signature: of a task or its name, from a dict, or a copy of a signature.

    Parameters:
        varies: the task, its name, a dict, or a signature.
        args: of `Signature`, if `varies` is a task or a name.
        kwargs: of `Signature`; otherwise only ``app`` counts, for all parts of the signature.
    """
    if not isinstance(varies, dict):
        return simple_signature()(varies, *args, **kwargs)
    app = kwargs.get("app")
    if isinstance(varies, AnySignature) and (app is None or app is varies._app):
        return varies.clone()
    return simple_signature().from_dict(varies, app=app)


subtask = signature


def maybe_signature(d: Any, app: Any = None, clone: bool = False) -> Any:
    """Return a signature if `d` is one or describes one; anything else, such as None, as it is.

    Parameters:
        d: what may be a signature.
        app: app to send it with.
        clone: return a copy of a signature.
    """
    if d is None:
        return None
    if isinstance(d, AnySignature):
        if clone:
            d = d.clone()
    elif isinstance(d, dict):
        d = simple_signature().from_dict(d)
        if app is not None:
            _adopt_parts(d, app)
    else:
        return d
    if app is not None:
        d._app = app
    return d


def _adopt_parts(sig: Any, app: Any) -> None:
    """Give the parts of a signature that came as plain dicts the app that it is to be sent with."""
    kwargs = sig["kwargs"]
    for name in ("tasks", "header", "body"):
        part = kwargs.get(name)
        if isinstance(part, dict):
            kwargs[name] = maybe_signature(part, app=app)
        elif isinstance(part, (list, tuple)):
            kwargs[name] = [maybe_signature(item, app=app) for item in part]


maybe_subtask = maybe_signature


def plain(value: Any, *, only_signatures: bool = False) -> Any:
    """Return a value with plain dicts, lists and tuples instead of signatures.

    Parameters:
        value: any value.
        only_signatures: what is inside a plain dict is plain already, and left alone.

    For serializers that know no subclasses of them (YAML's) or misread them (msgpack's, which asks
    for the length of a group), and for pickles that are read where there is no taskq. JSON needs
    none of this.
    """
    if not _has_parts(value):
        return value
    holder = [value]
    # Without recursion: workflows may be nested deeper than calls of Python may.
    todo: list[Any] = [(holder, 0, only_signatures)]
    tuples: list[tuple[Any, Any]] = []
    inside: set[int] = set()
    while todo:
        place = todo.pop()
        if place.__class__ is int:
            inside.discard(place)
            continue
        owner, key, keep = place
        item = owner[key]
        identity = id(item)
        # One that is in itself is left as it is, for the serializer to take or to refuse.
        if identity in inside or (keep and item.__class__ is dict):
            continue
        inside.add(identity)
        todo.append(identity)
        owner[key] = copy = dict(item) if isinstance(item, dict) else list(item)
        if isinstance(item, dict):
            todo += [(copy, name, False) for name, part in item.items() if _has_parts(part)]
        else:
            todo += [(copy, index, keep) for index, part in enumerate(item) if _has_parts(part)]
            if isinstance(item, tuple):
                tuples.append((owner, key))
    for owner, key in reversed(tuples):
        owner[key] = tuple(owner[key])
    return holder[0]


def _has_parts(value: Any) -> bool:
    return isinstance(value, (dict, list, tuple))
