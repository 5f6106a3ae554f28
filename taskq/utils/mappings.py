"""Dicts with attributes, objects as dicts, and configuration in layers.

Used by settings and loaders; found in :mod:`taskq.utils.collections`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from itertools import chain
from typing import TYPE_CHECKING, Any

from taskq.utils.functional import first, uniq
from taskq.utils.text import match_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def force_mapping(m: Any) -> Any:
    """Return ``m``, as a mapping of its attributes if it is no mapping."""
    return m if isinstance(m, Mapping) else DictAttribute(m)


def lpmerge(L: dict[Any, Any], R: Mapping[Any, Any]) -> dict[Any, Any]:
    """Update ``L`` in place with the items of ``R`` that are not None, and return it."""
    for key, value in R.items():
        if value is not None:
            L[key] = value
    return L


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
