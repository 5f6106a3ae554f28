"""Buffers of limited size, which give up their oldest items.

Used for events and results; found in :mod:`taskq.utils.collections`.
"""

from __future__ import annotations

from collections import OrderedDict as _OrderedDict
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class OrderedDict(_OrderedDict[Any, Any]):
    """Ordered dict that can tell its oldest key."""

    def _LRUkey(self) -> Any:
        return next(iter(self.keys()))


class Evictable:
    """Mixin for buffers that give up their oldest items when they are too long."""

    Empty = Empty

    def evict(self) -> None:
        """Remove items until the buffer is no longer than it may be."""
        self._evict()

    def _evict(self, limit: int = 100, range: Callable[..., Any] = range) -> None:
        try:
            for _ in range(min(self._evictcount, limit)):
                self._evict1()
        except IndexError:
            return  # Another thread emptied it.

    def _evict1(self) -> None:
        if self._evictcount <= 0:
            raise IndexError
        self._pop_to_evict()

    @property
    def _evictcount(self) -> int:
        raise NotImplementedError

    def _pop_to_evict(self) -> Any:
        raise NotImplementedError


class Messagebuffer(Evictable):
    """Queue of at most ``maxsize`` items; :meth:`take` also when iterated over.

    Parameters:
        maxsize: most items (None: any number).
        iterable: items to begin with.
        deque: the class that holds the items.
    """

    Empty = Empty

    def __init__(
        self,
        maxsize: int | None,
        iterable: Iterable[Any] | None = None,
        deque: Callable[..., Any] = deque,
    ) -> None:
        self.maxsize = maxsize
        self.data = deque(iterable or [])

    def put(self, item: Any) -> None:
        """Append an item, giving up the oldest one if there are too many."""
        self.data.append(item)
        if self._evictcount > 0:
            self.evict()

    def extend(self, it: Iterable[Any]) -> None:
        """Append several items."""
        self.data.extend(it)
        if self._evictcount > 0:
            self.evict()

    def take(self, *default: Any) -> Any:
        """Remove and return the oldest item; if there is none return ``default`` or raise Empty."""
        try:
            return self.data.popleft()
        except IndexError:
            if default:
                return default[0]
            raise self.Empty() from None

    def _pop_to_evict(self) -> Any:
        return self.take()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)}/{self.maxsize}>"

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.data.popleft()
            except IndexError:
                return

    def __len__(self) -> int:
        return len(self.data)

    def __contains__(self, item: Any) -> bool:
        return item in self.data

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self.data)  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        return self.data[index]

    @property
    def _evictcount(self) -> int:
        return max(len(self) - self.maxsize, 0) if self.maxsize else 0


class BufferMap(OrderedDict, Evictable):
    """Buffers by key, with at most ``maxsize`` items in all of them together.

    Parameters:
        maxsize: most items.
        iterable: pairs of key and item to begin with.
        bufmaxsize: most items in one buffer.

    When there are too many, the buffer longest not used loses its oldest item.
    """

    Buffer = Messagebuffer
    Empty = Empty

    maxsize: int | None = None
    #: Number of items in all buffers.
    total: int = 0
    bufmaxsize: int | None = None

    def __init__(
        self,
        maxsize: int | None,
        iterable: Iterable[tuple[Any, Any]] | None = None,
        bufmaxsize: int | None = 1000,
    ) -> None:
        super().__init__()
        self.maxsize = maxsize
        self.bufmaxsize = bufmaxsize
        self.total = 0
        for key, item in iterable or ():
            self.put(key, item)

    def put(self, key: Any, item: Any) -> None:
        """Append ``item`` to the buffer of ``key``."""
        buffer = self._get_or_create_buffer(key)
        before = len(buffer)
        buffer.put(item)
        self._changed(key, len(buffer) - before)

    def extend(self, key: Any, it: Iterable[Any]) -> None:
        """Append several items to the buffer of ``key``."""
        buffer = self._get_or_create_buffer(key)
        before = len(buffer)
        buffer.extend(it)
        self._changed(key, len(buffer) - before)

    def _changed(self, key: Any, added: int) -> None:
        self.total += added
        self.move_to_end(key)
        if self.maxsize:
            self.evict()

    def take(self, key: Any, *default: Any) -> Any:
        """Remove and return the oldest item of ``key``; else return ``default`` or raise Empty."""
        buffer = self.get(key)
        if buffer is None or not len(buffer):
            if default:
                return default[0]
            raise self.Empty()
        item = buffer.take()
        self.total -= 1
        if len(buffer):
            self.move_to_end(key)
        else:
            del self[key]
        return item

    def _get_or_create_buffer(self, key: Any) -> Messagebuffer:
        try:
            return self[key]  # type: ignore[no-any-return]
        except KeyError:
            buffer = self[key] = self._new_buffer()
            return buffer

    def _new_buffer(self) -> Messagebuffer:
        return self.Buffer(maxsize=self.bufmaxsize)

    def _LRUpop(self, *default: Any) -> Any:
        return self[self._LRUkey()].take(*default)

    def _pop_to_evict(self) -> Any:
        for key in list(self):
            buffer = self[key]
            if len(buffer):
                item = buffer.take()
                self.total -= 1
                if len(buffer):
                    self.move_to_end(key)  # Every buffer loses one before any loses another.
                else:
                    del self[key]
                return item
            del self[key]
        raise IndexError

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.total}/{self.maxsize}>"

    @property
    def _evictcount(self) -> int:
        return max(self.total - self.maxsize, 0) if self.maxsize else 0
