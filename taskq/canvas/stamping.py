"""Stamps: headers that a visitor, or keyword arguments, put on every task of a workflow.

`Signature.stamp` and its overrides walk the workflow and call the visitor; here is the visitor's
interface and how its headers are merged with those there already.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from taskq.canvas.kinds import TYPES, is_group

__all__ = (
    "GroupStampingVisitor",
    "StampingVisitor",
    "merge_dictionaries",
    "merge_headers",
)


class StampingVisitor(metaclass=ABCMeta):
    """Decides which stamps each part of a workflow is given.

    Each method returns headers. Those listed in the ``stamped_headers`` it returns become stamps,
    all of them if it returns no such list; the others are options only of what is visited.
    ``headers`` are those that the enclosing parts were given.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Return the headers of a task."""

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Return headers for all tasks of a group, before they are visited."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 - need not be there
        """Called when all tasks of a group have been visited."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
        """Return headers for all tasks of a chain, before they are visited."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027 - need not be there
        """Called when all tasks of a chain have been visited."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return headers for all tasks of a chord's header: what `on_group_start` says."""
        if not is_group(sig.tasks):
            sig.tasks = TYPES["group"](sig.tasks)
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called when the header of a chord has been visited."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
        """Return headers for the body of a chord, before it is visited."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
        """Return headers for a task that is linked to one, before it is visited."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
        """Return headers for a task called on failure, before it is visited."""
        return {}


class GroupStampingVisitor(StampingVisitor):
    """Stamps each task with the ids of the groups it is in: header ``groups``, outermost first.

    Parameters:
        groups: ids of groups around what is stamped.
        stamped_headers: further headers that are stamps.
    """

    def __init__(
        self, groups: Iterable[str] | None = None, stamped_headers: Iterable[str] | None = None
    ) -> None:
        self.groups = list(groups or ())
        self.stamped_headers = list(stamped_headers or ())
        if "groups" not in self.stamped_headers:
            self.stamped_headers.append("groups")

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        """Return the ids of the groups that are being visited."""
        return {"groups": list(self.groups), "stamped_headers": list(self.stamped_headers)}

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
        """Give the group its id if it has none, and note it."""
        if group.id is None:
            group.set(task_id=group.new_id())
        if group.id not in self.groups:
            self.groups.append(group.id)
        return super().on_group_start(group, **headers)

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """Forget the group."""
        if group.id in self.groups:
            self.groups.remove(group.id)


def merge_headers(
    own: Mapping[str, Any],
    visitor_headers: Mapping[str, Any] | None,
    given: Mapping[str, Any],
    *,
    append_stamps: bool,
) -> dict[str, Any]:
    """Return the headers to set, with ``stamped_headers`` naming those that are stamps.

    Parameters:
        own: options of a signature; only its stamps count.
        visitor_headers: what a visitor returned; wins over the others.
        given: what the enclosing parts were given.
        append_stamps: collect the values of a stamp in a list instead of replacing them.
    """
    layers = [
        _with_stamp_names(visitor_headers or {}),
        _with_stamp_names(given),
        _stamps_of(own),
    ]
    names: dict[str, None] = {}
    merged: dict[str, Any] = {}
    for layer in layers:
        names.update(dict.fromkeys(layer["stamped_headers"]))
        for key, value in layer.items():
            if key == "stamped_headers":
                continue
            if key not in merged:
                merged[key] = value
            elif append_stamps and key in layer["stamped_headers"]:
                merged[key] = [*_as_list(merged[key]), *_as_list(value)]
    merged["stamped_headers"] = list(names)
    return merged


def _with_stamp_names(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return headers with the list of those that are stamps: by default all."""
    names = headers.get("stamped_headers")
    keys = [key for key in headers if key != "stamped_headers"]
    return {**headers, "stamped_headers": keys if names is None else _as_list(names)}


def _stamps_of(options: Mapping[str, Any]) -> dict[str, Any]:
    names = _as_list(options.get("stamped_headers") or ())
    stamps = {name: options[name] for name in names if name in options}
    return {**stamps, "stamped_headers": names}


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]


def merge_dictionaries(
    d1: dict[str, Any], d2: Mapping[str, Any] | None, aggregate_duplicates: bool = True
) -> None:
    """Merge `d2` into `d1`: lists are joined, dicts are merged, other values collected in a list.

    Parameters:
        d1: changed in place.
        d2: what to add.
        aggregate_duplicates: collect two values that are no lists in one; else the first stays.
    """
    for key, value in (d2 or {}).items():
        if key not in d1:
            d1[key] = value
        elif isinstance(d1[key], dict) and isinstance(value, Mapping):
            merge_dictionaries(d1[key], value, aggregate_duplicates)
        elif isinstance(d1[key], (list, tuple, set)):
            d1[key] = [*_as_list(d1[key]), *_as_list(value)]
        elif aggregate_duplicates:
            d1[key] = [d1[key], *_as_list(value)]
