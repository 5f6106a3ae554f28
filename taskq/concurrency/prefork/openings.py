"""Knows which children may take one more job, and picks the one that has the least to do.

The dispatcher asks it for every job: picking takes the same time however many children there are.
"""

from __future__ import annotations

from taskq.concurrency.prefork.children import Child, State
from taskq.concurrency.runtimes import MAX_WINDOW


class Openings:
    """Children that may take one more job, by the number of jobs they have."""

    def __init__(self) -> None:
        #: Children with nothing to do.
        self.idle: dict[Child, None] = {}
        self._by_load: list[dict[Child, None]] = [self.idle, *({} for _ in range(MAX_WINDOW))]

    def admit(self, child: Child) -> None:
        """Let ``child`` take jobs, as far as its load allows; none if it is being killed."""
        if child.state is not State.UP or child.doom is not None:
            return
        load = child.load
        if not load or load <= child.window:
            self.withdraw(child)
            self._by_load[load][child] = None
            child.open_at = load

    def withdraw(self, child: Child) -> None:
        """Give ``child`` nothing more (until it is admitted again)."""
        if child.open_at >= 0:
            del self._by_load[child.open_at][child]
            child.open_at = -1

    def pick(self, window: int) -> Child | None:
        """Return the child for a job, counted into its load; None when all are full for it.

        Parameters:
            window: how many jobs of its kind may wait in a child behind the running one.
        """
        idle = self.idle
        if idle:
            # The last to become idle: its caches are the warmest.
            child, _ = idle.popitem()
            child.load = 1
            child.window = window
            if window:
                self._by_load[1][child] = None
                child.open_at = 1
            else:
                child.open_at = -1
            return child
        for load in range(1, window + 1):
            children = self._by_load[load]
            if children:
                child, _ = children.popitem()
                child.load = load = load + 1
                if load <= child.window:
                    self._by_load[load][child] = None
                    child.open_at = load
                else:
                    child.open_at = -1
                return child
        return None

    def unload(self, child: Child) -> None:
        """Take back a job that was counted into the child's load."""
        self.withdraw(child)
        child.load -= 1
        self.admit(child)
