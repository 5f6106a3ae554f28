"""Dicts with attributes, layered configuration, and buffers and sets of limited size.

Used by settings, the revoked set, the event buffers and the result consumers.
"""

from __future__ import annotations

import time
from collections import OrderedDict as _OrderedDict
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from heapq import heapify, heappop, heappush
from itertools import chain
from queue import Empty
from typing import TYPE_CHECKING, Any

from taskq.utils.functional import first, uniq
from taskq.utils.text import match_case as match_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = (
    "AttributeDict",
    "AttributeDictMixin",
    "BufferMap",
    "ChainMap",
    "ConfigurationView",
    "DictAttribute",
    "Evictable",
    "LimitedSet",
    "Messagebuffer",
    "OrderedDict",
    "force_mapping",
    "lpmerge",
)

REPR_LIMITED_SET = "<{name}({size}): maxlen={0.maxlen}, expires={0.expires}, minlen={0.minlen}>"


def force_mapping(m: Any) -> Any:
    """Return ``m``, as a mapping of its attributes if it is no mapping."""
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: dict[Any, Any], R: Mapping[Any, Any]) -> dict[Any, Any]:
    """Update ``L`` in place with the items of ``R`` that are not None, and return it."""
    for key, value in R.items():
        if value is not None:
            L[key] = value
    return L


class OrderedDict(_OrderedDict[Any, Any]):
    """Ordered dict that can tell its oldest key."""

    def _LRUkey(self) -> Any:
        return next(iter(self.keys()))


class AttributeDictMixin:
    """Gives a mapping its items as attributes."""

    def __getattr__(self, k: str) -> Any:
        try:
            return self[k]  # type: ignore[index]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {k!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value


class AttributeDict(dict[str, Any], AttributeDictMixin):
    """Dict whose items are attributes as well."""


class DictAttribute:
    """Gives an object its attributes as items, as if it were a dict."""

    obj: Any = None

    def __init__(self, obj: Any) -> None:
        object.__setattr__(self, "obj", obj)

    def __getattr__(self, key: str) -> Any:
        return getattr(self.obj, key)

    def __setattr__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the attribute ``key``, or ``default``."""
        return getattr(self.obj, key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the attribute ``key``, after setting it to ``default`` if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def __getitem__(self, key: str) -> Any:
        try:
            return getattr(self.obj, key)
        except AttributeError:
            raise KeyError(key) from None

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self.obj, key, value)

    def __contains__(self, key: str) -> bool:
        return hasattr(self.obj, key)

    def keys(self) -> Iterator[str]:
        """Iterate over the names of all attributes."""
        return iter(dir(self.obj))

    __iter__ = iterkeys = _iterate_keys = keys

    def items(self) -> Iterator[tuple[str, Any]]:
        """Iterate over the attributes and their values."""
        for key in self.keys():
            yield key, getattr(self.obj, key)

    iteritems = _iterate_items = items

    def values(self) -> Iterator[Any]:
        """Iterate over the values of all attributes."""
        for key in self.keys():
            yield getattr(self.obj, key)

    itervalues = _iterate_values = values


MutableMapping.register(DictAttribute)


class ChainMap(MutableMapping[Any, Any]):
    """Several mappings seen as one: the first that has a key counts, and gets the changes.

    Parameters:
        maps: the mappings; the first is ``changes``, the others ``defaults``.
        key_t: keyword; converts keys before they are looked up.
    """

    key_t: Callable[[Any], Any] | None = None
    changes: Any = None
    defaults: Any = None
    maps: Any = None
    _observers: list[Callable[..., Any]] = []

    def __init__(self, *maps: Any, **kwargs: Any) -> None:
        chained = list(maps or ({},))
        # Set past __setattr__, which subclasses turn into items.
        self.__dict__.update(
            key_t=kwargs.get("key_t"),
            maps=chained,
            changes=chained[0],
            defaults=chained[1:],
            _observers=[],
        )

    def add_defaults(self, d: Any) -> None:
        """Add a mapping (or an object with attributes) before the other defaults."""
        d = force_mapping(d)
        self.defaults.insert(0, d)
        self.maps.insert(1, d)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` from the changes and return its value."""
        try:
            return self.maps[0].pop(self._key(key), *default)
        except KeyError:
            raise KeyError(f"Key not found in the first mapping: {key!r}") from None

    def __missing__(self, key: Any) -> Any:
        raise KeyError(key)

    def _key(self, key: Any) -> Any:
        return self.key_t(key) if self.key_t is not None else key

    def __getitem__(self, key: Any) -> Any:
        wanted = self._key(key)
        for mapping in self.maps:
            try:
                return mapping[wanted]
            except KeyError:
                continue
        return self.__missing__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.changes[self._key(key)] = value

    def __delitem__(self, key: Any) -> None:
        try:
            del self.changes[self._key(key)]
        except KeyError:
            raise KeyError(f"Key not found in first mapping: {key!r}") from None

    def clear(self) -> None:
        """Forget all changes."""
        self.changes.clear()

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value at ``key``, or ``default``."""
        try:
            return self[self._key(key)]
        except KeyError:
            return default

    def __len__(self) -> int:
        return len(set().union(*self.maps))

    def __iter__(self) -> Iterator[Any]:
        return self.iterkeys()

    def __contains__(self, key: Any) -> bool:
        key = self._key(key)
        return any(key in mapping for mapping in self.maps)

    def __bool__(self) -> bool:
        return any(self.maps)

    __nonzero__ = __bool__

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value at ``key``, after setting it to ``default`` if there was none."""
        key = self._key(key)
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Update the changes, as ``dict.update`` does, and tell the observers."""
        self.changes.update(*args, **kwargs)
        for callback in self._observers:
            callback(*args, **kwargs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.maps))})"

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], *args: Any) -> ChainMap:
        """Return a new one with all changes from ``dict.fromkeys(iterable, *args)``."""
        return cls(dict.fromkeys(iterable, *args))

    def copy(self) -> ChainMap:
        """Return one with copied changes and the same defaults."""
        return self.__class__(self.maps[0].copy(), *self.maps[1:])

    __copy__ = copy

    def _iter(self, op: Callable[[Any], Iterable[Any]]) -> Iterator[Any]:
        # Changes last, so that in a dict made of the result they count.
        return chain(*(op(mapping) for mapping in reversed(self.maps)))

    def _iterate_keys(self) -> Iterator[Any]:
        return uniq(self._iter(lambda mapping: mapping.keys()))

    iterkeys = _iterate_keys

    def _iterate_items(self) -> Iterator[tuple[Any, Any]]:
        return ((key, self[key]) for key in self)

    iteritems = _iterate_items

    def _iterate_values(self) -> Iterator[Any]:
        return (self[key] for key in self)

    itervalues = _iterate_values

    def bind_to(self, callback: Callable[..., Any]) -> None:
        """Call ``callback`` with the arguments of every :meth:`update`."""
        self._observers.append(callback)

    keys = _iterate_keys  # type: ignore[assignment]
    items = _iterate_items  # type: ignore[assignment]
    values = _iterate_values  # type: ignore[assignment]


class ConfigurationView(ChainMap, AttributeDictMixin):
    """Changes over layers of defaults, with items as attributes.

    Parameters:
        changes: what was set.
        defaults: the layers below, first one first.
        keys: functions that give other names of a key, tried in turn.
        prefix: put before keys that lack it, such as ``"CELERY_"``.
    """

    def __init__(
        self,
        changes: Any,
        defaults: Sequence[Any] | None = None,
        keys: Sequence[Callable[[str], Any]] | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__(changes, *([] if defaults is None else defaults))
        self.__dict__.update(
            prefix=prefix.rstrip("_") + "_" if prefix else prefix,
            _keys=keys,
        )

    def _to_keys(self, key: str) -> Sequence[str]:
        prefix = self.prefix
        if prefix:
            key, given = (prefix + key if not key.startswith(prefix) else key), key
            return match_case(key, prefix), given
        return (key,)

    def __getitem__(self, key: str) -> Any:
        for candidate in self._candidates(key):
            for mapping in self.maps:
                try:
                    return mapping[candidate]
                except KeyError:
                    continue
        return self.__missing__(key)

    def _candidates(self, key: str) -> Iterator[str]:
        keys = self._to_keys(key)
        yield from keys
        for rename in self._keys or ():
            yield from (renamed for renamed in map(rename, keys) if renamed is not None)

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes[self._key(key)] = value

    def first(self, *keys: str) -> Any:
        """Return the first value that is not None."""
        return first(None, (self.get(key) for key in keys))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value at ``key``, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def clear(self) -> None:
        """Forget all changes and keep the defaults."""
        self.changes.clear()

    def __contains__(self, key: Any) -> bool:
        candidates = tuple(self._candidates(key))
        return any(candidate in mapping for mapping in self.maps for candidate in candidates)

    def swap_with(self, other: ConfigurationView) -> None:
        """Become a view of what ``other`` is a view of."""
        changes, defaults = other.__dict__["changes"], other.__dict__["defaults"]
        self.__dict__.update(
            changes=changes,
            defaults=defaults,
            key_t=other.__dict__["key_t"],
            prefix=other.__dict__["prefix"],
            maps=[changes, *defaults],
        )

    def copy(self) -> ConfigurationView:
        """Return one with copied changes and the same defaults."""
        return self.__class__(
            self.changes.copy(), list(self.defaults), keys=self._keys, prefix=self.prefix
        )

    __copy__ = copy


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
