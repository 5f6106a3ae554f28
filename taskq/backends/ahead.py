"""Results written ahead: a success is sent to the store, and its answer awaited a little later.

The pool process allows it for each task, the tracer uses it, a store that can do it takes part, and
the process settles before it waits for its next task. What a store was sent it has, even when the
process dies the moment after: only the answer is outstanding.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ("Ahead", "Store", "ahead")


class Store(Protocol):
    """A store with answers outstanding."""

    def settle(self) -> None:
        """Wait for the answers, and store again what was refused or may be lost."""


class Ahead:
    """What this process has written ahead. Used by the thread that runs its tasks, one at a time.

    1. The pool process sets `allowed` for a task.
    2. A store that sends a result without awaiting the answer calls `owe`.
    3. The pool process calls `settle` when no other task is there to be run.
    """

    __slots__ = ("allowed", "unsettled")

    def __init__(self) -> None:
        #: The task that runs may have its result written ahead.
        self.allowed = False
        #: Stores with answers outstanding.
        self.unsettled: list[Store] = []

    def owe(self, store: Store) -> None:
        """Take note that a store has answers outstanding."""
        if store not in self.unsettled:
            self.unsettled.append(store)

    def settle(self) -> None:
        """Wait for the answers of all stores."""
        while self.unsettled:
            self.unsettled.pop().settle()


#: The one of this process.
ahead = Ahead()
