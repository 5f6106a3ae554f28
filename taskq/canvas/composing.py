"""What ``left | right`` is, for every kind of signature.

Called by the operators of the classes, and by `chain` for a list of steps.

Operands are never changed. Steps are copied at most once however long a pipeline grows: see
`_chain.sealed`. What a single call of `fold` makes, it may change; `owner` marks that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskq.canvas.kinds import TYPES, AnySignature, is_chain, is_chord, is_empty_group, is_group
from taskq.canvas.kinds import maybe_unroll_group as unroll

__all__ = ("compose", "fold")


def compose(left: Any, right: Any, owner: object | None = None) -> Any:
    """Return the workflow that runs `left`, then `right` with its result.

    Parameters:
        left: a signature of any kind.
        right: a signature of any kind.
        owner: the call that may change what it made itself; None when nothing may be changed.

    Returns NotImplemented if `right` is no signature.
    """
    if not isinstance(right, AnySignature):
        return NotImplemented
    if is_chain(left):
        return _after_chain(left, right, owner)
    if is_group(left):
        return left if is_empty_group(right) else _chord(left, right, owner)
    if is_chord(left):
        return _after_chord(left, right, owner)
    return _after_task(left, right, owner)


def fold(steps: Iterable[Any]) -> Any:
    """Return the workflow that runs these steps one after the other, in time linear to them.

    Parameters:
        steps: signatures that nobody else uses: they become part of the result.

    Raises TypeError if a step is no signature.
    """
    owner = object()
    result: Any = _own(TYPES["chain"](()), owner)
    for step in steps:
        following = compose(result, step, owner)
        if following is NotImplemented:
            raise TypeError(f"A step of a chain must be a signature, not {step!r}")
        result = following
    return result


def _after_task(task: Any, right: Any, owner: object | None) -> Any:
    if is_chain(right):
        return _chain([task, *right.unchain_tasks()], owner)
    if is_group(right):
        right = unroll(right)
    return _chain([task, right], owner)


def _after_chain(chain: Any, right: Any, owner: object | None) -> Any:
    if is_empty_group(right):
        return chain
    if is_chain(right):
        return _after_chain_chain(chain, right, owner)
    if is_group(right):
        right = unroll(right)
    if is_chain(right):
        return _after_chain_chain(chain, right, owner)
    if not chain.has_steps:
        # `right` is the first step, and may still become the header of a chord.
        return right if is_group(right) else _chain([right], owner)
    if owner is not None and chain.owner is owner:
        _add_step(chain.raw_steps, right, owner)
        return chain
    steps, sealed = chain.steps_to_extend()
    _add_step(steps, right, owner)
    return _chain(steps, owner, sealed=min(sealed, len(steps) - 1))


def _after_chain_chain(chain: Any, right: Any, owner: object | None) -> Any:
    if not right.has_steps:
        return chain
    # What is made from here on belongs to this call, and the rest of it may change it.
    own = owner or object()
    result = chain
    for step in right.unchain_tasks():
        result = compose(result, step, own)
    if owner is None:
        result.owner = None
    return result


def _after_chord(chord: Any, right: Any, owner: object | None) -> Any:
    if is_chain(right):
        return _chain([chord, *right.unchain_tasks()], owner)
    if is_group(right):
        if len(right.tasks) != 1:
            return _chain([chord, right], owner)
        right = unroll(right)
    return _extend_body(chord, right, owner)


def _add_step(steps: list[Any], right: Any, owner: object | None) -> None:
    """Append a step; a group it follows becomes a chord with it, a chord's body goes on with it."""
    last = steps[-1]
    if is_group(last) and not is_group(right):
        chord = _chord(last, right, owner)
        steps.pop()
        if steps and is_chord(steps[-1]):
            steps[-1] = _extend_body(steps[-1], chord, owner)
        else:
            steps.append(chord)
    elif is_chord(last) and not is_chord(right):
        steps[-1] = _extend_body(last, right, owner)
    else:
        steps.append(right)


def _extend_body(chord: Any, right: Any, owner: object | None) -> Any:
    """Return the chord with a body that goes on with `right`."""
    if chord.body is None:
        raise TypeError(f"Cannot go on with {right!r} after {chord!r}: give the chord a body first")
    if owner is None or chord.owner is not owner:
        chord = _own(chord.copied_for_body(), owner)
    chord.body = compose(chord.body, right, owner)
    return chord


def _chain(steps: list[Any], owner: object | None, sealed: int = 0) -> Any:
    chain = TYPES["chain"](steps)
    chain.sealed = sealed
    return _own(chain, owner)


def _chord(header: Any, body: Any, owner: object | None) -> Any:
    return _own(TYPES["chord"].of_group(header, body), owner)


def _own(sig: Any, owner: object | None) -> Any:
    sig.owner = owner
    return sig
