"""A list over an iterator, read only as far as it is looked at.

Found as ``taskq.utils.functional.regen``; canvas keeps generators of tasks in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def regen(it: Any) -> Any:
    """Return ``it`` if it is a list or tuple, else a list that reads it when needed.

    The result can be iterated over as often as one likes, and counts as a ``list``.
    """
    return it if isinstance(it, (list, tuple)) else _regen(it)


class _regen(list[Any]):
    """List filled from an iterator; its own storage is what has been read so far."""

    # Being the list's own storage matters to code in C (json, msgpack), which asks no method.

    def __init__(self, it: Iterable[Any]) -> None:
        super().__init__()
        self.__rest = iter(it)
        self.__done = False
        self.__callbacks: list[Callable[[Any], Any]] = []

    def __read(self, count: int | None = None) -> Iterator[Any]:
        """Read ``count`` more items (None: all) and yield them."""
        while not self.__done and (count is None or count > 0):
            try:
                item = next(self.__rest)
            except StopIteration:
                self.__done = True
                return
            except BaseException:
                self.__done = True
                raise
            for callback in self.__callbacks:
                item = callback(item)
            super().append(item)
            yield item
            if count is not None:
                count -= 1

    def __read_all(self) -> None:
        for _ in self.__read():
            pass

    def map(self, func: Callable[[Any], Any]) -> None:
        """Replace every item by ``func(item)``, those to come when they are read."""
        for index, item in enumerate(super().__iter__()):
            super().__setitem__(index, func(item))
        if not self.__done:
            self.__callbacks.append(func)

    @property
    def data(self) -> list[Any]:
        """All items, as a plain list."""
        return list(self)

    def __reduce__(self) -> Any:
        return list, (self.data,)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    def __length_hint__(self) -> int:
        return self.__rest.__length_hint__() if hasattr(self.__rest, "__length_hint__") else 0

    def __iter__(self) -> Iterator[Any]:
        index, length, item_at = 0, super().__len__, super().__getitem__
        while True:
            if index >= length() and not any(True for _ in self.__read(1)):
                return
            yield item_at(index)
            index += 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) or index < 0:
            self.__read_all()
        else:
            missing = index - super().__len__() + 1
            if missing > 0:
                for _ in self.__read(missing):
                    pass
        return super().__getitem__(index)

    def __bool__(self) -> bool:
        if super().__len__():
            return True
        return any(True for _ in self.__read(1))

    def __len__(self) -> int:
        self.__read_all()
        return super().__len__()

    def __repr__(self) -> str:
        read = ", ".join(repr(item) for item in super().__iter__())
        return f"<{type(self).__name__}: [{read}{'' if self.__done else '...'}]>"


def _reading_all(name: str) -> Any:
    plain = getattr(list, name)

    def method(self: _regen, *args: Any, **kwargs: Any) -> Any:
        len(self)
        return plain(self, *args, **kwargs)

    method.__name__ = name
    method.__doc__ = plain.__doc__
    return method


#: Whatever else a list can do needs all items.
_WHOLE_LIST_METHODS = (
    "append count extend index insert pop remove reverse sort copy clear "
    "__add__ __contains__ __delitem__ __eq__ __ge__ __gt__ __iadd__ __imul__ __le__ __lt__ "
    "__mul__ __ne__ __reversed__ __rmul__ __setitem__"
)
for _name in _WHOLE_LIST_METHODS.split():
    setattr(_regen, _name, _reading_all(_name))
del _name
_regen.__hash__ = None
