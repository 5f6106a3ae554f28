"""Patterns of topic bindings."""

from __future__ import annotations

import pytest

from taskq.transport.sqlite.topics import topic_matches


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("#", ""),
        ("#", "task.received"),
        ("task.*", "task.received"),
        ("task.#", "task"),
        ("task.#", "task.a.b"),
        ("*.b", "a.b"),
        ("#.b", "b"),
        ("#.b", "x.y.b"),
        ("a.#.z", "a.z"),
        ("a.#.#.z", "a.b.c.z"),
        ("a+b", "a+b"),
        ("", ""),
    ],
)
def test_matches(pattern: str, key: str) -> None:
    assert topic_matches(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("task.*", "task"),
        ("task.*", "task.a.b"),
        ("task", "tasks"),
        ("a.b", "a.bc"),
        ("a+b", "aab"),
        ("*", "a.b"),
        ("#.b", "ab"),
        ("a\n", "a"),
    ],
)
def test_does_not_match(pattern: str, key: str) -> None:
    assert not topic_matches(pattern, key)
