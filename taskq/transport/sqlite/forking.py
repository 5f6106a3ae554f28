"""Keeps SQLite connections from crossing a fork.

SQLite remembers per process which locks it holds on a file, and a forked child would believe
that it holds its parent's. So connections are closed right before a fork, and both sides open
new ones when they need them.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ("Forkable", "register")


class Forkable(Protocol):
    """What holds a connection or descriptor that a forked child must not use."""

    def before_fork(self) -> None:
        """Come to rest, and stay at rest until one of the other two is called."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew, without touching what the parent may still use."""


_registered: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []


def register(forkable: Forkable) -> None:
    """Have the methods of `forkable` called around every fork while it lives."""
    _registered.add(forkable)


def _before() -> None:
    _resting[:] = _registered
    for forkable in _resting:
        forkable.before_fork()


def _after_in_parent() -> None:
    resting = _resting[:]
    _resting.clear()
    for forkable in resting:
        forkable.after_fork_in_parent()


def _after_in_child() -> None:
    resting = _resting[:]
    _resting.clear()
    for forkable in resting or list(_registered):
        forkable.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=_after_in_parent,
        after_in_child=_after_in_child,
    )
