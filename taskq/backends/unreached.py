"""Which tasks of a workflow that will never run have to be told so, for others wait for them.

Used where what comes before the rest of a chain, or before the body of a chord, has failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from taskq.utils.functional import maybe_list
from taskq.utils.imports import symbol_by_name

__all__ = ("ends_of", "request_of", "steps_before_end")

#: A signature of any kind, or the dict of one.
Described = Mapping[str, Any]


def ends_of(sig: Described, errbacks: Iterable[Any] = ()) -> Iterator[tuple[Described, list[Any]]]:
    """Yield the calls that the result of a workflow comes from, each with its errbacks.

    Parameters:
        sig: the workflow.
        errbacks: those of what the workflow is in. Those of steps of a chain are not among them:
            a chain that fails calls only those of the step it fails in.
    """
    kind, parts = sig.get("subtask_type"), sig["kwargs"]
    called = list(maybe_list((sig.get("options") or {}).get("link_error")) or ())
    called += [errback for errback in errbacks if errback not in called]
    if kind == "chain":
        for last in list(parts["tasks"])[-1:]:
            for end, _ in ends_of(last):
                yield end, called
    elif kind == "group":
        for member in parts["tasks"]:
            yield from ends_of(member, called)
    elif kind == "chord":
        if parts.get("body") is not None:
            yield from ends_of(parts["body"], called)
    else:
        yield sig, called


def steps_before_end(sig: Described) -> list[Described]:
    """Return the steps of a chain before its last one; none for other kinds."""
    return list(sig["kwargs"]["tasks"])[:-1] if sig.get("subtask_type") == "chain" else []


def request_of(call: Described) -> Any:
    """Return the request that a call would have had, by its options."""
    context = symbol_by_name("taskq.app.task:Context")
    options = call.get("options") or {}
    place = {"id": options.get("task_id"), "group": options.get("group_id")}
    return context({**call, **options, **place}, delivery_info={})
