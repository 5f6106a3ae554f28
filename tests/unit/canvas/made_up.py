"""Workflows made up at random by hypothesis, of any kind and nested to some depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from taskq import chain, chord, group
from taskq.canvas import _chain

__all__ = ("leaves", "workflows")

#: A workflow is made twice: as a signature, and as a function that says what it returns. Each takes
#: the result of what comes before, whatever that is.
MadeUp = tuple[Any, Callable[[Any], Any]]


def leaves(value: Any) -> int:
    """Return the sum of all numbers in nested lists."""
    return sum(map(leaves, value)) if isinstance(value, list) else value


def workflows(flat: Any, *, max_leaves: int = 8) -> st.SearchStrategy[MadeUp]:
    """Return a strategy that makes workflows up.

    - flat: task that returns the sum of the leaves of its first argument, and its second.
    - max_leaves: how many tasks one has, about.
    """
    return st.recursive(
        tasks(flat),
        lambda inner: st.one_of(chains(inner), groups(inner), chords(inner)),
        max_leaves=max_leaves,
    )


@st.composite
def tasks(draw: Any, flat: Any) -> MadeUp:
    plus = draw(st.integers(0, 9))
    if draw(st.booleans()):
        return flat.s(plus), lambda given: plus + leaves(given)
    return flat.si(plus, 1), lambda given: plus + 1


def several(inner: Any, least: int) -> Any:
    return st.lists(inner, min_size=least, max_size=3)


@st.composite
def chains(draw: Any, inner: Any) -> MadeUp:
    parts = draw(several(inner, 1))
    made = draw(st.sampled_from([chain, _chain]))([sig for sig, _ in parts])

    def returns(given: Any) -> Any:
        for _, function in parts:
            given = function(given)
        return given

    return made, returns


@st.composite
def groups(draw: Any, inner: Any) -> MadeUp:
    parts = draw(several(inner, 2))
    return group([sig for sig, _ in parts]), lambda given: [call(given) for _, call in parts]


@st.composite
def chords(draw: Any, inner: Any) -> MadeUp:
    header = draw(several(inner, 1))
    body, body_returns = draw(inner)
    made = chord([sig for sig, _ in header], body)
    return made, lambda given: body_returns([call(given) for _, call in header])
