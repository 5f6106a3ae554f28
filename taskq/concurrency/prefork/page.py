"""One shared page of memory per child: what it began, and which task a signal is meant for.

Signals carry no data, so the main process writes the task's number here before it sends one, and
the child's handler ignores a signal that arrives when that task is no longer the one that runs.
"""

from __future__ import annotations

import mmap

#: Slot: sequence number of the task the child began last. Written by the child, never reset: a
#: task that was read but not begun when the child died can safely run elsewhere.
BEGUN = 0
#: Slot: the task that SIGUSR1 (soft time limit) is meant for. The child clears it on effect.
SOFT_LIMIT = 1
#: Slot: the task that SIGTERM or SIGQUIT is meant for.
TERMINATE = 2
#: Number of slots, each an unsigned 64-bit integer.
SLOTS = 3
#: Value of ``TERMINATE`` that means "whatever runs".
ANY_TASK = 2**64 - 1

PAGE_SIZE = mmap.PAGESIZE


class Page:
    """The slots as a mutable sequence of integers.

    Parameters:
        fd: a file of at least one page to map (spawned children); None for anonymous memory,
            which only forked children can share.
    """

    def __init__(self, fd: int | None = None) -> None:
        self._map = mmap.mmap(-1 if fd is None else fd, PAGE_SIZE, mmap.MAP_SHARED)
        self.slots = memoryview(self._map).cast("Q")[:SLOTS]

    def close(self) -> None:
        """Unmap the page."""
        self.slots.release()
        self._map.close()
