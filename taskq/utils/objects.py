"""Small helpers for objects: cached properties, bunches, MRO look-ups.

Used all over the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ("Bunch", "FallbackContext", "cached_property", "getitem_property", "mro_lookup")

T = TypeVar("T")
_MISSING: Any = object()


class cached_property(Generic[T]):
    """Property computed at the first access and then kept in the instance.

    Later accesses do not come by here at all: they find the value in the instance's ``__dict__``.
    A ``setter`` may change a value before it is kept; a ``deleter`` is given the value removed.

    Parameters:
        fget: computes the value.
        fset: called as ``fset(instance, value)``; returns the value to keep.
        fdel: called as ``fdel(instance, value)`` when a kept value is deleted.
    """

    def __new__(
        cls,
        fget: Callable[[Any], T] | None = None,
        fset: Callable[[Any, Any], T] | None = None,
        fdel: Callable[[Any, T], None] | None = None,
    ) -> cached_property[T]:
        # Python looks no further than the instance only if the descriptor cannot set or delete.
        if cls is cached_property and (fset or fdel):
            cls = _managed_cached_property
        return super().__new__(cls)

    def __init__(
        self,
        fget: Callable[[Any], T] | None = None,
        fset: Callable[[Any, Any], T] | None = None,
        fdel: Callable[[Any, T], None] | None = None,
    ) -> None:
        assert fget is not None, "cached_property needs a function"
        self.func = fget
        self.fset = fset
        self.fdel = fdel
        self.attrname = getattr(fget, "__name__", "")
        self.__doc__ = fget.__doc__
        self.__module__ = fget.__module__

    def __set_name__(self, owner: type, name: str) -> None:
        self.attrname = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> T: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        cache = instance.__dict__
        value = cache.get(self.attrname, _MISSING)
        if value is _MISSING:
            # No lock: a process forked meanwhile would inherit it locked. Two threads may both
            # compute the value; all of them get the one that was kept first.
            value = cache.setdefault(self.attrname, self.func(instance))
        return value

    def setter(self, fset: Callable[[Any, Any], T]) -> cached_property[T]:
        """Return a copy of this property with ``fset``."""
        return cached_property(self.func, fset, self.fdel)

    def deleter(self, fdel: Callable[[Any, T], None]) -> cached_property[T]:
        """Return a copy of this property with ``fdel``."""
        return cached_property(self.func, self.fset, fdel)


class _managed_cached_property(cached_property[T]):
    """Cached property with a setter or a deleter."""

    def __set__(self, instance: Any, value: Any) -> None:
        if self.fset is not None:
            value = self.fset(instance, value)
        instance.__dict__[self.attrname] = value

    def __delete__(self, instance: Any) -> None:
        value = instance.__dict__.pop(self.attrname, _MISSING)
        if self.fdel is not None and value is not _MISSING:
            self.fdel(instance, value)


class Bunch:
    """Object whose attributes are the keyword arguments it was made with."""

    def __init__(self, **kwargs: Any) -> None:
        self.__dict__.update(kwargs)


def mro_lookup(
    cls: type,
    attr: str,
    stop: Collection[type] | None = None,
    monkey_patched: Collection[str] | None = None,
) -> type | None:
    """Return the first class in the MRO of ``cls`` that defines ``attr``, or None.

    Parameters:
        cls: the class to look in.
        attr: name of the attribute.
        stop: classes at which the search ends without result.
        monkey_patched: modules whose attributes do not count even in a ``stop`` class: an attribute
            of a ``stop`` class that comes from another module is taken for a monkey patch, and
            that class is returned.
    """
    stop = stop or ()
    monkey_patched = monkey_patched or ()
    for node in cls.mro():
        if node in stop:
            value = node.__dict__.get(attr)
            origin = getattr(value, "__module__", None)
            if value is None or origin in monkey_patched:
                return None
            return node if origin is not None else None
        if attr in node.__dict__:
            return node
    return None


class FallbackContext:
    """Context manager that gives ``provided``, or makes and closes a fallback.

    Parameters:
        provided: object to give; it is not closed. None: use the fallback.
        fallback: called with ``fb_args`` and ``fb_kwargs``; returns a context manager.
    """

    def __init__(
        self, provided: Any, fallback: Callable[..., Any], *fb_args: Any, **fb_kwargs: Any
    ) -> None:
        self.provided = provided
        self.fallback = fallback
        self.fb_args = fb_args
        self.fb_kwargs = fb_kwargs
        self._context: Any = None

    if not TYPE_CHECKING:

        @classmethod
        def __class_getitem__(cls, item: Any) -> Any:
            from types import GenericAlias

            return GenericAlias(cls, item)

    def __enter__(self) -> Any:
        if self.provided is not None:
            return self.provided
        context = self._context = self.fallback(*self.fb_args, **self.fb_kwargs)
        return context.__enter__()

    def __exit__(self, *exc_info: Any) -> bool | None:
        if self._context is not None:
            return self._context.__exit__(*exc_info)  # type: ignore[no-any-return]
        return None


class getitem_property:
    """Attribute that reads and writes an item of the object it belongs to.

    Parameters:
        keypath: the key, or keys joined by dots for items inside items (``"options.queue"``).
        doc: the docstring.
    """

    def __init__(self, keypath: str, doc: str | None = None) -> None:
        path, _, self.key = keypath.rpartition(".")
        self.path = path.split(".") if path else None
        self.__doc__ = doc

    def _path(self, obj: Any) -> Any:
        for key in self.path or ():
            obj = obj[key]
        return obj

    def __get__(self, obj: Any, type: type | None = None) -> Any:
        if obj is None:
            return type
        return self._path(obj).get(self.key)

    def __set__(self, obj: Any, value: Any) -> None:
        self._path(obj)[self.key] = value
