"""Proxies: objects that stand for another object, found or made when it is needed.

Used for ``current_app``, ``current_task`` and for tasks declared before their app is finalized.
"""

from __future__ import annotations

import operator
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from taskq.utils.lazymodule import lazy_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from taskq._state import getappattr as getappattr

__all__ = ("PromiseProxy", "Proxy", "maybe_evaluate", "try_import")

if not TYPE_CHECKING:
    # The current app lives one storey up, in a module that needs this one.
    __getattr__ = lazy_attributes(__name__, {"getappattr": "taskq._state:getappattr"})


def try_import(module: str, default: Any = None) -> ModuleType | Any:
    """Import and return ``module``, or return ``default`` when it is not installed."""
    try:
        return import_module(module)
    except ImportError:
        return default


class _ClassText(str):
    """Text that a class shows as its own and that instances take from the object they stand for."""

    __slots__ = ("attribute",)
    attribute: str

    def __new__(cls, attribute: str, text: str) -> _ClassText:
        self = super().__new__(cls, text)
        self.attribute = attribute
        return self

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return str(self)
        return getattr(instance._get_current_object(), self.attribute)


def _resolver(
    local: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
) -> Callable[[], Any]:
    """Return the function without arguments that finds the real object."""
    if not hasattr(local, "__release_local__"):
        return partial(local, *args, **kwargs) if args or kwargs else local

    def lookup() -> Any:
        try:
            return getattr(local, name or "")
        except AttributeError:
            raise RuntimeError(f"no object bound to {name}") from None

    return lookup


class Proxy:
    """Stand-in for the object that ``local`` returns at the moment of each access.

    Parameters:
        local: a callable, or an object with ``__release_local__`` that has ``name`` as attribute.
        args: positional arguments for ``local``.
        kwargs: keyword arguments for ``local``.
        name: value of ``__name__`` (default: the real object's).
        __doc__: value of ``__doc__`` (default: the real object's).
    """

    # The implicit strings below are visible on instances too, hence _ClassText.
    __slots__ = ("__custom_doc", "__custom_name", "__local")

    def __init__(
        self,
        local: Callable[..., Any] | Any,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        name: str | None = None,
        __doc__: str | None = None,
    ) -> None:
        set_ = object.__setattr__
        set_(self, "_Proxy__local", _resolver(local, args or (), kwargs or {}, name))
        set_(self, "_Proxy__custom_name", name)
        set_(self, "_Proxy__custom_doc", __doc__)

    @property
    def __name__(self) -> str:
        own = object.__getattribute__(self, "_Proxy__custom_name")
        return str(own if own is not None else self._get_current_object().__name__)

    def _get_class(self) -> type:
        return self._get_current_object().__class__  # type: ignore[no-any-return]

    @property
    def __class__(self) -> Any:
        return self._get_class()

    @__class__.setter
    def __class__(self, value: Any) -> None:
        self._get_current_object().__class__ = value

    def _get_current_object(self) -> Any:
        """Return the object this proxy stands for right now (unwrap it in hot code)."""
        return object.__getattribute__(self, "_Proxy__local")()

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        try:
            return self._get_current_object().__dict__  # type: ignore[no-any-return]
        except RuntimeError:
            raise AttributeError("__dict__") from None

    def __repr__(self) -> str:
        try:
            obj = self._get_current_object()
        except RuntimeError:
            return f"<{type(self).__qualname__} unbound>"
        return repr(obj)

    def __bool__(self) -> bool:
        try:
            return bool(self._get_current_object())
        except RuntimeError:
            return False

    __nonzero__ = __bool__

    def __dir__(self) -> list[str]:
        try:
            return dir(self._get_current_object())
        except RuntimeError:
            return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __bytes__(self) -> bytes:
        return bytes(self._get_current_object())

    def __format__(self, spec: str) -> str:
        return format(self._get_current_object(), spec)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __reversed__(self) -> Iterator[Any]:
        return reversed(self._get_current_object())  # type: ignore[no-any-return]

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __contains__(self, item: Any) -> bool:
        return item in self._get_current_object()

    def __eq__(self, other: object) -> Any:
        return self._get_current_object() == other

    def __ne__(self, other: object) -> Any:
        return self._get_current_object() != other

    def __lt__(self, other: Any) -> Any:
        return self._get_current_object() < other

    def __le__(self, other: Any) -> Any:
        return self._get_current_object() <= other

    def __gt__(self, other: Any) -> Any:
        return self._get_current_object() > other

    def __ge__(self, other: Any) -> Any:
        return self._get_current_object() >= other

    def __int__(self) -> int:
        return int(self._get_current_object())

    def __float__(self) -> float:
        return float(self._get_current_object())

    def __complex__(self) -> complex:
        return complex(self._get_current_object())

    def __index__(self) -> int:
        return operator.index(self._get_current_object())

    def __oct__(self) -> str:
        return oct(self._get_current_object())

    def __hex__(self) -> str:
        return hex(self._get_current_object())

    def __divmod__(self, other: Any) -> Any:
        return divmod(self._get_current_object(), other)

    def __pow__(self, other: Any) -> Any:
        return self._get_current_object() ** other

    def __div__(self, other: Any) -> Any:
        return self._get_current_object() / other

    def __coerce__(self, other: Any) -> tuple[Any, Any]:
        return self._get_current_object(), other

    def __enter__(self) -> Any:
        return self._get_current_object().__enter__()

    def __exit__(self, *exc_info: Any) -> Any:
        return self._get_current_object().__exit__(*exc_info)

    def __reduce__(self) -> Any:
        # str and tuple alike: the real object says how it is pickled.
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)

    if TYPE_CHECKING:

        def __add__(self, other: Any) -> Any: ...
        def __sub__(self, other: Any) -> Any: ...
        def __mul__(self, other: Any) -> Any: ...
        def __truediv__(self, other: Any) -> Any: ...
        def __floordiv__(self, other: Any) -> Any: ...
        def __mod__(self, other: Any) -> Any: ...
        def __lshift__(self, other: Any) -> Any: ...
        def __rshift__(self, other: Any) -> Any: ...
        def __and__(self, other: Any) -> Any: ...
        def __xor__(self, other: Any) -> Any: ...
        def __or__(self, other: Any) -> Any: ...
        def __neg__(self) -> Any: ...
        def __pos__(self) -> Any: ...
        def __abs__(self) -> Any: ...
        def __invert__(self) -> Any: ...


def _binary(operation: Callable[[Any, Any], Any]) -> Callable[[Proxy, Any], Any]:
    def forward(self: Proxy, other: Any) -> Any:
        return operation(self._get_current_object(), other)

    return forward


def _reflected(operation: Callable[[Any, Any], Any]) -> Callable[[Proxy, Any], Any]:
    def forward(self: Proxy, other: Any) -> Any:
        return operation(other, self._get_current_object())

    return forward


def _unary(operation: Callable[[Any], Any]) -> Callable[[Proxy], Any]:
    def forward(self: Proxy) -> Any:
        return operation(self._get_current_object())

    return forward


_BINARY = "add sub mul truediv floordiv mod lshift rshift and xor or matmul"
_UNARY = "neg pos abs invert"


def _add_operators() -> None:
    for name in _BINARY.split():
        operation = getattr(operator, f"__{name}__")
        setattr(Proxy, f"__{name}__", _binary(operation))
        setattr(Proxy, f"__r{name}__", _reflected(operation))
    for name in _UNARY.split():
        setattr(Proxy, f"__{name}__", _unary(getattr(operator, f"__{name}__")))
    Proxy.__rpow__ = _reflected(pow)  # type: ignore[attr-defined]
    Proxy.__rdivmod__ = _reflected(divmod)  # type: ignore[attr-defined]


_add_operators()


class _ProxyDoc(_ClassText):
    __slots__ = ()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is not None:
            own = object.__getattribute__(instance, "_Proxy__custom_doc")
            if own is not None:
                return own
        return super().__get__(instance, owner)


Proxy.__doc__ = _ProxyDoc("__doc__", Proxy.__doc__ or "")
Proxy.__module__ = _ClassText("__module__", __name__)

_UNSET = object()


class PromiseProxy(Proxy):
    """Proxy that calls its function once, at the first use, and keeps the object.

    ``__evaluated__()`` tells whether that has happened; ``__maybe_evaluate__()`` makes it happen
    and returns the object; ``__then__(fun, *args, **kwargs)`` calls ``fun`` afterwards (at once if
    it has happened already).
    """

    __slots__ = ("__pending__", "__thing", "__weakref__")

    def _get_current_object(self) -> Any:
        try:
            return object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            return self.__evaluate__()

    def __then__(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fun(*args, **kwargs)`` once the object exists."""
        if self.__evaluated__():
            return fun(*args, **kwargs)
        try:
            pending = object.__getattribute__(self, "__pending__")
        except AttributeError:
            pending = []
            object.__setattr__(self, "__pending__", pending)
        pending.append((fun, args, kwargs))
        return None

    def __evaluated__(self) -> bool:
        """Return True if the object has been made."""
        try:
            object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            return False
        return True

    def __maybe_evaluate__(self) -> Any:
        """Return the object, making it first if necessary."""
        return self._get_current_object()

    def __evaluate__(self) -> Any:
        """Make the object now, run what waits for it, and return it."""
        thing = super()._get_current_object()
        try:
            # Another thread may have been quicker: everyone must see one and the same object.
            return object.__getattribute__(self, "_PromiseProxy__thing")
        except AttributeError:
            object.__setattr__(self, "_PromiseProxy__thing", thing)
        self.__run_pending()
        return thing

    def __run_pending(self) -> None:
        try:
            pending = object.__getattribute__(self, "__pending__")
        except AttributeError:
            return
        object.__delattr__(self, "__pending__")
        for fun, args, kwargs in pending:
            fun(*args, **kwargs)


PromiseProxy.__doc__ = _ProxyDoc("__doc__", PromiseProxy.__doc__ or "")
PromiseProxy.__module__ = _ClassText("__module__", __name__)


def maybe_evaluate(obj: Any) -> Any:
    """Return the real object if ``obj`` is a :class:`PromiseProxy`, else ``obj`` itself."""
    try:
        evaluate = obj.__maybe_evaluate__
    except AttributeError:
        return obj
    return evaluate()


class class_property:
    """A property of the class itself: ``getter`` and ``setter`` are given the class."""

    def __init__(
        self,
        getter: Callable[..., Any] | classmethod[Any, Any, Any] | None = None,
        setter: Callable[..., Any] | classmethod[Any, Any, Any] | None = None,
    ) -> None:
        self.__get = _plain_function(getter)
        self.__set = _plain_function(setter)
        for info_attribute in ("__module__", "__name__", "__doc__"):
            setattr(self, info_attribute, getattr(self.__get, info_attribute, None))

    def __get__(self, obj: Any, type: type | None = None) -> Any:
        if self.__get is None:
            raise AttributeError("unreadable class property")
        return self.__get(type if obj is None else obj.__class__)

    def __set__(self, obj: Any, value: Any) -> Any:
        if self.__set is None:
            raise AttributeError("this class property cannot be set")
        return self.__set(obj.__class__, value)

    def setter(self, setter: Callable[..., Any]) -> class_property:
        """Return a copy of this property with ``setter``."""
        return self.__class__(self.__get, setter)


def _plain_function(method: Any) -> Any:
    return getattr(method, "__func__", method)


def fun_of_method(method: Any) -> Any:
    """Return the plain function of a method or classmethod."""
    return _plain_function(method)


def reclassmethod(method: Any) -> classmethod[Any, Any, Any]:
    """Return a new classmethod around the function of ``method``."""
    return classmethod(_plain_function(method))
