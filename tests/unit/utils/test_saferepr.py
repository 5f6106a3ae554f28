"""Representations are safe, bounded, and those of Python for ordinary values."""

from __future__ import annotations

import datetime
import decimal
import json
from collections import OrderedDict, namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.utils.saferepr import is_repr_of, reprstream, saferepr

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(plain)
def test_same_as_repr(value):
    assert saferepr(value, maxlevels=50) == repr(value)


@given(plain, st.integers(0, 60))
def test_never_much_longer_than_the_limit(value, maxlen):
    # What is open is closed after the cut: brackets, quotes, two ellipses.
    assert len(saferepr(value, maxlen=maxlen)) <= maxlen * 6 + 40


@pytest.mark.parametrize(
    "value",
    [
        (),
        [],
        {},
        set(),
        frozenset(),
        (1,),
        {1},
        frozenset({1}),
        b"bytes\xff",
        "it's",
        datetime.datetime(2030, 1, 2),
        decimal.Decimal("1.5"),
        [set()],
        [{"a": (1, b"x")}],
        range(3),
    ],
)
def test_examples(value):
    assert saferepr(value) == repr(value)


def test_subclasses_are_shown_as_their_base():
    class Point(namedtuple("Point", "x y")):
        pass

    class Odd(list):
        def __repr__(self):
            raise RuntimeError

    assert saferepr(Point(1, 2)) == "(1, 2)"
    assert saferepr(Odd([1])) == "[1]"
    assert saferepr(OrderedDict(a=1)) == "{'a': 1}"


def test_levels():
    assert saferepr([[[[1]]]]) == "[[[[...]]]]"
    assert saferepr({"a": {"b": {"c": {"d": 1}}}}) == "{'a': {'b': {'c': {...}}}}"
    assert saferepr([[1]], maxlevels=1) == "[[...]]"


def test_recursion():
    loop = [1]
    loop.append(loop)
    assert saferepr(loop) == f"[1, <Recursion on list with id={id(loop)}>]"
    shared = [1]
    assert saferepr([shared, shared]) == "[[1], [1]]"


def test_deep_nesting_does_not_recurse():
    value = []
    for _ in range(100_000):
        value = [value]
    assert saferepr(value) == "[[[[...]]]]"
    assert len(saferepr(value, maxlevels=10_000)) > 20_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 100, "'" + "x" * 30 + "...'"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
        (["a" * 100, "b"], "['" + "a" * 29 + "...', ...]"),
        ({"foo": "x" * 50}, "{'foo': '" + "x" * 22 + "...'}"),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]], "[[1, 2, 3], [4, 5, 6], [7, 8, ...]]"),
    ],
)
def test_truncation(value, expected):
    assert saferepr(value, maxlen=30) == expected


def test_huge_values_are_not_represented_whole():
    class Counted(str):
        pass

    assert len(saferepr("x" * 50_000_000, maxlen=100)) < 120
    assert len(saferepr([0] * 5_000_000, maxlen=100)) < 120
    assert "Unrepresentable" in saferepr([10**10_000])


def test_objects_that_raise():
    class Broken:
        def __repr__(self):
            raise ValueError("no")

    text = saferepr({"a": Broken()})
    assert "Unrepresentable" in text
    assert "ValueError" in text


def test_list_that_changes_meanwhile():
    class Growing:
        def __init__(self, owner):
            self.owner = owner

        def __repr__(self):
            self.owner[len(self.owner)] = 1
            return "growing"

    owner = {}
    owner["g"] = Growing(owner)
    assert saferepr(owner).startswith("{'g': growing")


def test_reprstream():
    from collections import deque

    parts = [
        part if isinstance(part, str) else part.value
        for part, _ in reprstream(deque([iter([[1, "a"]])]))
    ]
    assert parts == ["[", "1", ", ", "a", "]"]


@pytest.mark.parametrize(
    "value",
    [(), (1, "a"), ((1, (2, 3)), [4.5]), ({1: {"a": None}},), ("x" * 3000, 1), (list(range(900)),)],
)
def test_a_representation_is_known_again_after_a_serializer(value):
    text = saferepr(value, 1024)
    assert is_repr_of(text, value)
    assert is_repr_of(text, json.loads(json.dumps(value)))


def test_what_is_all_dots_is_compared_as_it_is():
    deep = ([[["secret"]]],)
    assert is_repr_of(saferepr(deep), list(deep))
    assert not is_repr_of("(...)", deep)
    assert is_repr_of(saferepr(deep, 1024, 6), list(deep), 6)
    assert not is_repr_of(saferepr(deep, 1024, 6), deep)


@pytest.mark.parametrize("text", ["('ann', '***')", "(...)", "('ann', ...)", "hidden", "()"])
def test_what_somebody_wrote_is_no_representation(text):
    assert not is_repr_of(text, ("ann", "swordfish"))
