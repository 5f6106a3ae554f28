"""Functional programming: caches, iteration helpers, lazy lists, looking at signatures.

Used all over the place.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, UserDict
from collections.abc import Iterable, Mapping
from itertools import islice, tee, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from taskq.utils.lazymodule import lazy_attributes
from taskq.utils.lookahead_list import regen as regen
from taskq.utils.signatures import arity_greater as arity_greater
from taskq.utils.signatures import fun_accepts_kwargs as fun_accepts_kwargs
from taskq.utils.signatures import fun_takes_argument as fun_takes_argument
from taskq.utils.signatures import head_from_fun as head_from_fun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kombu.utils.functional import lazy as lazy

    from taskq.utils.promises import mlazy as mlazy

__all__ = (
    "LRUCache",
    "chunks",
    "dictfilter",
    "first",
    "firstmethod",
    "fun_accepts_kwargs",
    "head_from_fun",
    "is_list",
    "lazy",
    "mattrgetter",
    "maybe",
    "maybe_evaluate",
    "maybe_list",
    "memoize",
    "mlazy",
    "noop",
    "padlist",
    "regen",
    "uniq",
)

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {"lazy": "kombu.utils.functional:lazy", "mlazy": "taskq.utils.promises:mlazy"},
    )

T = TypeVar("T")
_KEYWORD_MARK = object()


class DummyContext:
    """Context manager that does nothing."""

    def __enter__(self) -> DummyContext:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        pass


class LRUCache(UserDict[Any, Any]):
    """Dict of at most ``limit`` items that forgets the one longest not used. Thread-safe.

    Parameters:
        limit: how many items to keep (None: all).
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.mutex = threading.RLock()
        self.data: OrderedDict[Any, Any] = OrderedDict()

    def __getitem__(self, key: Any) -> Any:
        with self.mutex:
            value = self.data[key]
            self.data.move_to_end(key)
            return value

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        # Python's own looks for the key first and takes the value then: it may be gone in between.
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.mutex:
            self.data[key] = value
            self.data.move_to_end(key)
            if self.limit and len(self.data) > self.limit:
                self.data.popitem(last=False)

    def __delitem__(self, key: Any) -> None:
        with self.mutex:
            del self.data[key]

    def __iter__(self) -> Iterator[Any]:
        with self.mutex:
            return iter(list(self.data))

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Add items as ``dict.update`` does, then forget the oldest that are too many."""
        with self.mutex:
            self.data.update(*args, **kwargs)
            if self.limit:
                while len(self.data) > self.limit:
                    self.data.popitem(last=False)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove ``key`` and return its value; without it the default, or KeyError."""
        with self.mutex:
            return self.data.pop(key, *default)

    def popitem(self, last: bool = True) -> tuple[Any, Any]:
        """Remove and return the newest item, or with ``last=False`` the oldest."""
        with self.mutex:
            return self.data.popitem(last)

    def keys(self) -> list[Any]:  # type: ignore[override]
        """Return the keys, least recently used first."""
        with self.mutex:
            return list(self.data)

    def values(self) -> list[Any]:  # type: ignore[override]
        """Return the values, least recently used first."""
        with self.mutex:
            return list(self.data.values())

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]
        """Return the items, least recently used first."""
        with self.mutex:
            return list(self.data.items())

    iterkeys, itervalues, iteritems = keys, values, items

    def incr(self, key: Any, delta: int = 1) -> Any:
        """Add ``delta`` to the number at ``key`` and return the sum, as memcached does."""
        with self.mutex:
            # Kept as text, as memcached keeps it; returned as a number.
            value = int(self.data.pop(key)) + delta
            self[key] = str(value)
            return value

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        state.pop("mutex")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        self.mutex = threading.RLock()


def memoize(
    maxsize: int | None = None,
    keyfun: Callable[[tuple[Any, ...], dict[str, Any]], Any] | None = None,
    Cache: Callable[..., Any] = LRUCache,
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that remembers what a function returned for its arguments.

    Parameters:
        maxsize: how many results to keep (None: all).
        keyfun: called with ``(args, kwargs)``; returns what the result is kept under.
        Cache: the class of the cache.

    The function gains ``clear()``, ``hits``, ``misses`` and ``original_func``.
    """

    def decorate(fun: Callable[..., T]) -> Callable[..., T]:
        from functools import wraps

        mutex = threading.Lock()
        cache = Cache(limit=maxsize)

        @wraps(fun)
        def memoized(*args: Any, **kwargs: Any) -> Any:
            if keyfun:
                key = keyfun(args, kwargs)
            else:
                key = (*args, _KEYWORD_MARK, *sorted(kwargs.items()))
            try:
                with mutex:
                    value = cache[key]
            except KeyError:
                value = fun(*args, **kwargs)
                memoized.misses += 1  # type: ignore[attr-defined]
                with mutex:
                    cache[key] = value
            else:
                memoized.hits += 1  # type: ignore[attr-defined]
            return value

        def clear() -> None:
            cache.clear()
            memoized.hits = memoized.misses = 0  # type: ignore[attr-defined]

        memoized.hits = memoized.misses = 0  # type: ignore[attr-defined]
        memoized.clear = clear  # type: ignore[attr-defined]
        memoized.original_func = fun  # type: ignore[attr-defined]
        return memoized

    return decorate


def maybe_evaluate(value: Any) -> Any:
    """Return the value of a ``lazy``, and anything else unchanged."""
    from sys import modules

    # Without kombu's module there can be no lazy, and importing it to look would cost start-up.
    kombu_functional = modules.get("kombu.utils.functional")
    if kombu_functional is not None and isinstance(value, kombu_functional.lazy):
        return value.evaluate()
    return value


def evaluate_promises(it: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of ``it``, with each ``mlazy`` replaced by its value."""
    for value in it:
        yield maybe_evaluate(value)


def is_list(
    obj: Any,
    scalars: tuple[type, ...] = (Mapping, str),
    iters: tuple[type, ...] = (Iterable,),
) -> bool:
    """Return True if ``obj`` can be iterated over and is not one of ``scalars``."""
    return isinstance(obj, iters) and not isinstance(obj, scalars or ())


def maybe_list(obj: Any, scalars: tuple[type, ...] = (Mapping, str)) -> Any:
    """Return ``obj`` if it is a list or None, else a list of it alone."""
    return obj if obj is None or is_list(obj, scalars) else [obj]


def dictfilter(d: Mapping[str, Any] | None = None, **kw: Any) -> dict[str, Any]:
    """Return a dict of the items in ``d`` and ``kw`` that are not None."""
    items = kw if d is None else ({**d, **kw} if kw else d)
    return {key: value for key, value in items.items() if value is not None}


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing, with any arguments."""


def pass1(arg: T, *args: Any, **kwargs: Any) -> T:
    """Return the first argument."""
    return arg


def first(predicate: Callable[[T], Any] | None, it: Iterable[T]) -> T | None:
    """Return the first item for which ``predicate`` is true, else None.

    Without predicate, the first that is not None.
    """
    for item in it:
        if predicate(item) if predicate is not None else item is not None:
            return item
    return None


def firstmethod(method: str, on_call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that calls ``method`` of one object after the other.

    It takes the objects and the method's arguments and returns the first answer that is not None.

    Parameters:
        method: name of the method.
        on_call: called as ``on_call(bound_method, *args, **kwargs)`` in place of the method.
    """

    def _matcher(it: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        for obj in it:
            try:
                bound = getattr(maybe_evaluate(obj), method)
                answer = on_call(bound, *args, **kwargs) if on_call else bound(*args, **kwargs)
            except AttributeError:
                continue
            if answer is not None:
                return answer
        return None

    return _matcher


def chunks(it: Iterator[T], n: int) -> Iterator[list[T]]:
    """Yield lists of ``n`` items each from iterator ``it``; the last may be shorter."""
    it = iter(it)
    while chunk := list(islice(it, n)):
        yield chunk


def padlist(container: Sequence[T], size: int, default: Any = None) -> list[Any]:
    """Return the first ``size`` items, filled up with ``default``."""
    return [*container[:size], *([default] * (size - len(container)))]


def mattrgetter(*attrs: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that returns the attributes of an object as a dict (missing ones: None)."""
    return lambda obj: {attr: getattr(obj, attr, None) for attr in attrs}


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Yield every item of ``it`` once, at its first appearance."""
    seen: set[T] = set()
    for item in it:
        if item not in seen:
            seen.add(item)
            yield item


def lookahead(it: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Yield pairs of an item and the next one, which is None after the last."""
    current, following = tee(it)
    next(following, None)
    return zip_longest(current, following)


def maybe(typ: Callable[[Any], T], val: Any) -> T | None:
    """Return ``typ(val)``, or None if ``val`` is None."""
    return typ(val) if val is not None else val


def seq_concat_item(seq: Any, item: Any) -> Any:
    """Return a list or tuple (as ``seq`` is) of the items of ``seq`` and ``item``."""
    return (*seq, item) if isinstance(seq, tuple) else [*seq, item]


def seq_concat_seq(a: Any, b: Any) -> Any:
    """Return the concatenation of two sequences, of the type of ``a``."""
    if isinstance(a, (list, tuple)):
        prefer: type = list if isinstance(a, list) else tuple
    else:
        prefer = type(a)
    return prefer(a) + (b if isinstance(b, prefer) else prefer(b))


def is_numeric_value(value: Any) -> bool:
    """Return True for an int or float; a bool is not a number here."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
