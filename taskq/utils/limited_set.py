"""A set that forgets what was added longest ago, so that it never fills memory.

Used for revoked tasks; found in :mod:`taskq.utils.collections`.
"""

from __future__ import annotations

import time
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

REPR_LIMITED_SET = "<{name}({size}): maxlen={0.maxlen}, expires={0.expires}, minlen={0.minlen}>"


class LimitedSet:
    """Set that forgets what was added longest ago.

    Parameters:
        maxlen: most members (0: any number).
        expires: seconds after which a member may be forgotten (0: never).
        data: members to begin with, as for :meth:`update`.
        minlen: so many members are kept even if they have expired.

    A member added again counts as new.
    """

    #: How many percent more entries than members the heap may have before it is made anew.
    max_heap_percent_overload = 15

    def __init__(
        self, maxlen: int = 0, expires: float = 0, data: Any = None, minlen: int = 0
    ) -> None:
        self.maxlen = maxlen or 0
        self.minlen = minlen or 0
        self.expires = expires or 0
        self._data: dict[Any, tuple[float, Any]] = {}
        self._heap: list[tuple[float, Any]] = []
        if data:
            self.update(data)
        if not self.maxlen >= self.minlen >= 0:
            raise ValueError("minlen must be a positive number, less or equal to maxlen.")
        if self.expires < 0:
            raise ValueError("expires cannot be negative!")

    def _refresh_heap(self) -> None:
        self._heap[:] = self._data.values()
        heapify(self._heap)

    def _maybe_refresh_heap(self) -> None:
        if self._heap_overload >= self.max_heap_percent_overload:
            self._refresh_heap()

    def clear(self) -> None:
        """Remove every member."""
        self._data.clear()
        self._heap.clear()

    def add(self, item: Any, now: float | None = None) -> None:
        """Add ``item`` as of time ``now`` (seconds; default: the clock's)."""
        now = time.monotonic() if now is None else float(now)
        self._data.pop(item, None)
        entry = (now, item)
        self._data[item] = entry
        heappush(self._heap, entry)
        if self.maxlen and len(self._data) >= self.maxlen:
            self.purge()

    def update(self, other: Any) -> None:
        """Add the members of a LimitedSet, a dict of members to times, or any iterable."""
        if not other:
            return
        if isinstance(other, LimitedSet):
            self._data.update(other._data)
            self._refresh_heap()
            self.purge()
        elif isinstance(other, dict):
            latest = time.monotonic()
            for member, added in other.items():
                if isinstance(added, dict):  # as in the state file of Celery 3
                    added = added["inserted"]
                if not isinstance(added, float):
                    raise ValueError(
                        f"Expecting float timestamp, got type {type(added)!r} with value: {added}"
                    )
                # From before a reboot, or from another machine: nothing was added in the future.
                self.add(member, min(added, latest))
        else:
            for member in other:
                self.add(member)

    def discard(self, item: Any) -> None:
        """Remove ``item`` if it is a member."""
        self._data.pop(item, None)
        self._maybe_refresh_heap()

    pop_value = discard

    def purge(self, now: float | None = None) -> None:
        """Forget members that are too many, or expired at time ``now`` (seconds)."""
        now = time.monotonic() if now is None else now
        now = now() if callable(now) else now
        if self.maxlen:
            while len(self._data) > self.maxlen:
                self.pop()
        if self.expires:
            while len(self._data) > self.minlen >= 0:
                added, _ = self._oldest()
                if added + self.expires > now:
                    break
                self.pop()

    def _oldest(self) -> tuple[float, Any]:
        while not self._is_current(self._heap[0]):
            heappop(self._heap)
        return self._heap[0]

    def pop(self, default: Any = None) -> Any:
        """Remove and return the member added longest ago, or return ``default``."""
        while self._heap:
            entry = heappop(self._heap)
            if self._is_current(entry):
                del self._data[entry[1]]
                return entry[1]
        return default

    def _is_current(self, entry: tuple[float, Any]) -> bool:
        return self._data.get(entry[1]) is entry

    def as_dict(self) -> dict[Any, float]:
        """Return members and the times they were added, as :meth:`update` takes them."""
        return {member: added for added, member in self._data.values()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LimitedSet) and self._data == other._data

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return REPR_LIMITED_SET.format(self, name=type(self).__name__, size=len(self))

    def __iter__(self) -> Iterator[Any]:
        return (member for _, member in sorted(self._data.values(), key=lambda entry: entry[0]))

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: Any) -> bool:
        return key in self._data

    def __reduce__(self) -> Any:
        # The constructor's arguments, in their order.
        return self.__class__, (self.maxlen, self.expires, self.as_dict(), self.minlen)

    def __bool__(self) -> bool:
        return bool(self._data)

    __nonzero__ = __bool__

    @property
    def _heap_overload(self) -> float:
        """How many percent more entries the heap has than there are members."""
        return len(self._heap) * 100 / max(len(self._data), 1) - 100
