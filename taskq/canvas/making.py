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
    return _plain(value, only_signatures, set())


def _plain(value: Any, only_signatures: bool, inside: set[int]) -> Any:
    """Do the work of `plain`.

    - inside: identities of the containers that the value is in; one that is in itself is left as
      it is, for the serializer to take or to refuse.
    """
    identity = id(value)
    if not isinstance(value, dict | list | tuple) or identity in inside:
        return value
    if only_signatures and value.__class__ is dict:
        return value
    inside.add(identity)
    try:
        if isinstance(value, dict):
            return {key: _plain(item, False, inside) for key, item in value.items()}
        items = [_plain(item, only_signatures, inside) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    finally:
        inside.discard(identity)
