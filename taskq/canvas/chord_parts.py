"""Header and body of a chord: made of what is given, and given their options and ids."""

from __future__ import annotations

from typing import Any

from taskq.canvas.kinds import is_chain, is_chord, is_group
from taskq.canvas.making import maybe_signature
from taskq.canvas.planning import needs_join, root_result
from taskq.utils.functional import is_list, maybe_list, regen

__all__ = (
    "BODY_OPTIONS",
    "body_with",
    "final_tasks",
    "freeze_body",
    "header_of",
    "put_after",
    "tasks_in",
)

#: Options that say when and how the header is sent, and are not the body's.
HEADER_OPTIONS = frozenset(
    ("countdown", "eta", "parent_id", "producer", "publisher", "connection", "router")
)

#: Options that are the body's alone.
BODY_OPTIONS = frozenset(
    (
        "link",
        "link_error",
        "chain",
        "chord",
        "group_id",
        "group_index",
    )
)

#: Options that say how a header is polled where the backend can't count.
POLLING_OPTIONS = frozenset(("interval", "max_retries"))


def header_of(header: Any, app: Any = None) -> Any:
    """Return what a chord keeps of a header: a list of signatures, or a group that is frozen."""
    if isinstance(header, dict):
        header = maybe_signature(header, app=app)
        if is_group(header):
            return header.clone() if header.id else header.tasks
        if is_chain(header):
            return [step.clone() for step in header.tasks]
        return [header.clone()]
    tasks = header if is_list(header) else [header]
    if isinstance(tasks, (list, tuple)):
        return [maybe_signature(task, app=app, clone=True) for task in tasks]
    return regen(maybe_signature(task, app=app, clone=True) for task in tasks)


def tasks_in(header: Any) -> Any:
    """Return the tasks of a header, which is a list or a group."""
    return header.tasks if is_group(header) else header


def body_with(body: Any, options: dict[str, Any]) -> Any:
    """Return a copy of a body with the options of its chord that concern it."""
    links = {key: options.get(key) for key in ("link", "link_error")}
    others = {
        key: value
        for key, value in options.items()
        if key not in HEADER_OPTIONS and key not in POLLING_OPTIONS and key not in links
    }
    body = body.clone(**others)
    for callback in maybe_list(links["link"]) or ():
        body.link(maybe_signature(callback, clone=True))
    for errback in maybe_list(links["link_error"]) or ():
        body.link_error(maybe_signature(errback, clone=True))
    return body


def freeze_body(body: Any, task_id: str | None, header_id: str, root_id: str | None) -> Any:
    """Give a body its ids; return its result handle.

    It is in the group its options say, else, for all to see, in that of the header. The tasks of
    a group are in that group.
    """
    options = body.options
    group_id = options.get("group_id")
    if group_id is None and not needs_join(body):
        group_id = header_id
    return body.freeze(
        task_id,
        group_id=group_id,
        chord=options.get("chord"),
        root_id=root_id,
        group_index=options.get("group_index"),
    )


def put_after(header_result: Any, body_result: Any, body: Any) -> None:
    """Make the result of a header the parent of that of the body's first step.

    Raises TypeError if the body is an empty chain, which has no result.
    """
    if body_result is None:
        raise TypeError(f"Cannot end a chord with {body!r}: the body must have tasks")
    root_result(body_result).parent = header_result


def final_tasks(sig: Any) -> int:
    """Return how many tasks count for a chord that has `sig`, or each of a list, in its header."""
    total = 0
    todo = list(sig) if isinstance(sig, (list, tuple)) else [sig]
    while todo:
        sig = maybe_signature(todo.pop())
        if is_group(sig):
            todo.extend(sig.tasks)
        elif is_chain(sig):
            todo.extend(sig.tasks[-1:])
        elif is_chord(sig):
            todo.append(sig.body)
        else:
            total += 1
    return total
