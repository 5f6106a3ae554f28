"""From the steps of a chain to what is sent: flat, with ids, groups joined by chords.

Called when a chain is sent or frozen. One pass forwards, one backwards, each step touched once.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

from taskq.canvas.composing import compose
from taskq.canvas.kinds import TYPES, is_chain, is_chord, is_empty_group, is_group
from taskq.canvas.signature import Signature, maybe_signature
from taskq.utils.functional import maybe_list

__all__ = ("Place", "Plan", "flatten", "plan", "root_result")


# Not dataclasses, whose making is a seventh of importing the app class.
class Place(NamedTuple):
    """Where in a workflow a chain is.

    - last_task_id: id for the last step.
    - group_id, group_index, chord: what the last step belongs to and counts for.
    - root_id: id of the first task of the workflow.
    - parent_id: id of the task that sends the chain.
    """

    last_task_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None
    chord: Any = None
    root_id: str | None = None
    parent_id: str | None = None


class Plan(NamedTuple):
    """Steps to send.

    - tasks: frozen signatures, the last step first, as messages carry them.
    - results: their result handles in the same order, each with the one before as parent.
    - following: what is left of the steps that were to follow.
    """

    tasks: list[Any]
    results: list[Any]
    following: list[Any]


def plan(
    steps: Iterable[Any],
    place: Place,
    *,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    link_error: Any = None,
    following: Iterable[Any] = (),
    app: Any = None,
    clone: bool = True,
    own: bool = False,
) -> Plan:
    """Return what to send for these steps.

    Parameters:
        steps: signatures, first step first.
        place: where the chain is.
        args: positional arguments added to the first step.
        kwargs: keyword arguments added to the first step.
        link_error: signature, or list of them, called when a step fails.
        following: planned steps that follow the last one, the next one at the end.
        app: app of steps that are plain dicts.
        clone: leave the steps as they are and plan copies of them.
        own: without copies, nobody else has the steps.
    """
    flat = flatten(steps, app=app, clone=clone, own=own and not clone)
    own = own or clone
    if flat and (args or kwargs):
        flat[0] = flat[0].clone(args, kwargs)
    errbacks = maybe_list(link_error) or ()
    rest = list(following)
    tasks: list[Any] = []
    results: list[Any] = []
    first = len(flat) - 1
    for index, step in enumerate(reversed(flat)):
        result = None
        if index == 0:
            if rest and needs_join(step):
                step = join(step, maybe_signature(rest.pop(), app=app))
            result = step.freeze(
                place.last_task_id,
                group_id=place.group_id,
                chord=place.chord,
                root_id=place.root_id,
                parent_id=place.parent_id if index == first else None,
                group_index=place.group_index,
                own=own,
            )
        else:
            if needs_join(step):
                step = join(step, tasks.pop())
                results.pop()
            parent_id = place.parent_id if index == first else None
            result = step.freeze(root_id=place.root_id, parent_id=parent_id, own=own)
        for errback in errbacks:
            step.link_error(maybe_signature(errback, app=app, clone=True))
        tasks.append(step)
        results.append(result)
    for later, earlier in pairwise(results):
        root_result(later).parent = earlier
    return Plan(tasks, results, rest)


def flatten(
    steps: Iterable[Any], *, app: Any = None, clone: bool = True, own: bool = False
) -> list[Any]:
    """Return the steps of a chain without chains in chains and groups of one task or none.

    A chain that has nothing but empty groups is one of them: it has a result, of no tasks.

    Parameters:
        steps: signatures, first step first.
        app: app to send them with.
        clone: return copies.
        own: nobody else has the steps, nor what they are made of.
    """
    flat: list[Any] = []
    nothing = None
    # Each step, and whether nobody else has it.
    todo = [(step, own) for step in steps][::-1]
    while todo:
        step, is_own = todo.pop()
        if not isinstance(step, Signature):
            step, is_own = maybe_signature(step, app=app), True
        if is_chain(step):
            inner = step.tasks if is_own and not has_links(step) else step.unchain_tasks()
            todo.extend((each, True) for each in reversed(inner))
        elif is_empty_group(step):
            nothing = step
        elif is_group(step) and len(step.tasks) == 1:
            todo.extend((task, is_own) for task in step.tasks)
        else:
            if clone and not is_own:
                step = step.clone()
            if app is not None:
                step._app = app
            if todo and is_chord(step) and is_chain(step.body) and not has_links(step):
                # What follows the chord may then follow the last step of its body.
                body = step.body.unchain_tasks()
                todo.extend((each, True) for each in reversed(body[1:]))
                step = step.with_body(body[0]) if body else step
            flat.append(step)
    return flat or ([nothing] if nothing is not None else [])


def has_links(step: Any) -> bool:
    """Return whether links of the step are to be called when the whole of it is done."""
    return bool(step.options.get("link") or step.options.get("link_error"))


def needs_join(step: Any) -> bool:
    """Return whether the step ends in several tasks, which what follows has to wait for."""
    while is_chord(step):
        step = step.body
    return is_group(step) or (is_chain(step) and step.has_steps and needs_join(step.tasks[-1]))


def join(step: Any, following: Any) -> Any:
    """Return the step with `following` called once when all of its last tasks are done."""
    if is_group(step):
        return TYPES["chord"].of_group(step, following)
    return step.with_body(compose(step.body, following))


def root_result(result: Any) -> Any:
    """Return the first of the results that lead to this one."""
    while result.parent is not None:
        result = result.parent
    return result
