"""Exceptions that survive pickling, and values turned into what JSON can hold.

Used by result stores, the tracer and the prefork pool.
"""

from __future__ import annotations

import datetime
import numbers
import pickle
import sys
from base64 import b64decode as base64decode
from base64 import b64encode as base64encode
from inspect import getmro
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from taskq.utils.encoding import bytes_to_str, safe_repr, str_to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = (
    "UnpickleableExceptionWrapper",
    "create_exception_cls",
    "find_pickleable_exception",
    "get_pickleable_etype",
    "get_pickleable_exception",
    "get_pickled_exception",
    "strtobool",
    "subclass_exception",
)

#: Base classes that say nothing about an exception, so it is not replaced by one of them.
unwanted_base_classes = (Exception, BaseException, object)

STRTOBOOL_DEFAULT_TABLE = {
    "false": False,
    "no": False,
    "0": False,
    "off": False,
    "true": True,
    "yes": True,
    "1": True,
    "on": True,
}


def subclass_exception(name: str, parent: type[BaseException], module: str) -> type[BaseException]:
    """Return a new exception class called ``module.name`` with base class ``parent``."""
    return type(name, (parent,), {"__module__": module})


def find_pickleable_exception(
    exc: BaseException,
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[[Any], bytes] = pickle.dumps,
) -> BaseException | None:
    """Return the nearest base-class version of ``exc`` that can be pickled and read back.

    None is returned if there is none but Exception itself.
    """
    arguments = getattr(exc, "args", [])
    for base in itermro(exc.__class__, unwanted_base_classes):
        try:
            substitute = base(*arguments)
            loads(dumps(substitute))
        except Exception:
            continue
        return substitute  # type: ignore[no-any-return]
    return None


def itermro(cls: type[Any], stop: Iterable[type[Any]]) -> Iterator[type[Any]]:
    """Return the classes in the MRO of ``cls`` up to the first one in ``stop``."""
    return takewhile(lambda base: base not in stop, getmro(cls))


def create_exception_cls(
    name: str, module: str, parent: type[BaseException] | None = None
) -> type[BaseException]:
    """Make an exception class to stand for one that cannot be imported here."""
    return subclass_exception(name, parent or Exception, module)


def ensure_serializable(items: Iterable[Any], encoder: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Return the items as a tuple, those that ``encoder`` refuses replaced by their repr."""
    return tuple(_serializable(item, encoder) for item in items)


def _serializable(item: Any, encoder: Callable[[Any], Any]) -> Any:
    try:
        encoder(item)
    except Exception:
        return safe_repr(item)
    return item


class UnpickleableExceptionWrapper(Exception):
    """Carries an exception that cannot be pickled, as names and arguments.

    Parameters:
        exc_module: module of the exception's class.
        exc_cls_name: name of the class.
        exc_args: arguments of the exception; those that cannot be pickled as their repr.
        text: the exception as text.
    """

    #: Module of the exception's class.
    exc_module: str | None = None
    #: Name of the exception's class.
    exc_cls_name: str | None = None
    #: Arguments of the exception.
    exc_args: Any = None

    def __init__(
        self, exc_module: str, exc_cls_name: str, exc_args: Iterable[Any], text: str | None = None
    ) -> None:
        arguments = ensure_serializable(exc_args, pickle.dumps)
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = arguments
        self.text = text
        super().__init__(exc_module, exc_cls_name, arguments, text)

    def restore(self) -> BaseException:
        """Return an exception of a class of the same name, with the same arguments."""
        cls = create_exception_cls(self.exc_cls_name or "Exception", self.exc_module or "builtins")
        return cls(*self.exc_args)

    def __str__(self) -> str:
        return self.text or ""

    @classmethod
    def from_exception(cls, exc: BaseException) -> UnpickleableExceptionWrapper:
        """Wrap ``exc``."""
        return cls(
            exc.__class__.__module__,
            exc.__class__.__name__,
            getattr(exc, "args", []),
            safe_repr(exc),
        )


def get_pickleable_exception(exc: BaseException) -> BaseException:
    """Return ``exc`` if it can be pickled, else the best there is in place of it."""
    try:
        pickle.loads(pickle.dumps(exc))
    except Exception:
        nearest = find_pickleable_exception(exc)
        return nearest if nearest is not None else UnpickleableExceptionWrapper.from_exception(exc)
    return exc


def get_pickleable_etype(
    cls: type[BaseException],
    loads: Callable[[bytes], Any] = pickle.loads,
    dumps: Callable[[Any], bytes] = pickle.dumps,
) -> type[BaseException]:
    """Return ``cls`` if the class can be pickled, else Exception."""
    try:
        loads(dumps(cls))
    except Exception:
        return Exception
    return cls


def get_pickled_exception(exc: BaseException) -> BaseException:
    """Return the exception that :func:`get_pickleable_exception` was given."""
    if isinstance(exc, UnpickleableExceptionWrapper):
        return exc.restore()
    return exc


def b64encode(s: str | bytes) -> str:
    """Encode text or bytes as base64 text."""
    return bytes_to_str(base64encode(str_to_bytes(s)))  # type: ignore[no-any-return]


def b64decode(s: str | bytes) -> bytes:
    """Decode base64 text to bytes."""
    return base64decode(str_to_bytes(s))


def strtobool(term: Any, table: Mapping[str, bool] | None = None) -> Any:
    """Convert words such as ``yes``, ``off`` or ``1`` to a bool; anything but text is unchanged.

    Raises TypeError for other words.
    """
    if not isinstance(term, str):
        return term
    words = STRTOBOOL_DEFAULT_TABLE if table is None else table
    try:
        return words[term.lower()]
    except KeyError:
        raise TypeError(f"Cannot coerce {term!r} to type bool") from None


def _datetime_to_json(dt: datetime.datetime | datetime.time) -> str:
    # What ECMA-262 asks for: milliseconds at most, and Z for UTC.
    text = dt.isoformat()
    if dt.microsecond:
        text = text[:23] + text[26:] if isinstance(dt, datetime.datetime) else text[:12]
    if text.endswith("+00:00"):
        text = text[:-6] + "Z"
    return text


def jsonify(
    obj: Any,
    builtin_types: tuple[type, ...] = (numbers.Real, str),
    key: Any = None,
    keyfilter: Callable[[Any], Any] | None = None,
    unknown_type_filter: Callable[[Any], Any] | None = None,
) -> Any:
    """Turn ``obj`` into what JSON can hold.

    Parameters:
        obj: the value; containers are converted with all they hold.
        builtin_types: types that are kept as they are.
        key: the key that ``obj`` is under, for error messages.
        keyfilter: tells which keys of dicts to keep (those for which it is true).
        unknown_type_filter: converts values of other types; without it they raise ValueError.
    """

    def convert(value: Any, key: Any) -> Any:
        return jsonify(value, builtin_types, key, keyfilter, unknown_type_filter)

    if obj is None or isinstance(obj, builtin_types):
        return obj
    if isinstance(obj, (tuple, list)):
        return [convert(item, key) for item in obj]
    if isinstance(obj, dict):
        return {k: convert(v, k) for k, v in obj.items() if not keyfilter or keyfilter(k)}
    if isinstance(obj, (datetime.datetime, datetime.time)):
        return _datetime_to_json(obj)
    if isinstance(obj, datetime.date):
        return obj.isoformat()
    if isinstance(obj, datetime.timedelta):
        return str(obj)
    if unknown_type_filter is None:
        raise ValueError(f"Unsupported type: {type(obj)!r} {obj!r} (parent: {key})")
    return unknown_type_filter(obj)


def raise_with_context(exc: BaseException) -> None:
    """Raise ``exc`` with the exception that is being handled as its cause."""
    current = sys.exc_info()[1]
    if current is None:
        raise exc
    if current is exc:
        raise  # noqa: PLE0704 - called inside of an except block
    raise exc from current
