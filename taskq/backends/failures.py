"""Exceptions as stored data and back.

Used by the backends' `prepare_exception` and `exception_to_python`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from kombu.utils.encoding import from_utf8, safe_str

from taskq.exceptions import SecurityError
from taskq.utils.serialization import (
    create_exception_cls,
    ensure_serializable,
    get_pickleable_exception,
    get_pickled_exception,
)

__all__ = ("EXCEPTION_ABLE_CODECS", "exception_from_stored", "exception_to_stored")

#: Serializers that carry exception instances themselves.
EXCEPTION_ABLE_CODECS = frozenset({"pickle"})

# On the wire our exceptions carry Celery's module names, so that either side finds its own class.
OUR_PREFIX = "taskq."
WIRE_PREFIX = "celery."


def exception_to_stored(
    exc: BaseException, serializer: str, encode: Callable[[Any], Any]
) -> BaseException | dict[str, Any]:
    """Return `exc` in a form that `serializer` can carry.

    Parameters:
        exc: the exception.
        serializer: name of the serializer of results.
        encode: raises when its argument cannot be serialized; such arguments become their repr.
    """
    if serializer in EXCEPTION_ABLE_CODECS:
        pickleable: BaseException = get_pickleable_exception(exc)
        return pickleable
    cls = type(exc)
    stored = {
        "exc_type": getattr(cls, "__qualname__", cls.__name__),
        "exc_message": ensure_serializable(exc.args, encode),
        "exc_module": to_wire_module(cls.__module__),
    }
    if not exc.args and (text := safe_str(exc)):
        # Some exceptions (pydantic's, for one) can't be made again and have no arguments to show.
        stored["exc_text"] = text
    if isinstance(exc, BaseExceptionGroup):
        # Beside what Celery reads, for it makes no groups of stored data.
        stored["exc_group"] = [
            exception_to_stored(part, serializer, encode) for part in exc.exceptions
        ]
    return stored


def exception_from_stored(stored: Any, serializer: str) -> BaseException | None:
    """Return the exception that `exception_to_stored` was given, as near as possible.

    An exception whose class cannot be imported here comes back as an instance of a class made for
    it, with the same name. Only exception classes are ever called.

    Raises:
        SecurityError: the stored name is not that of an exception class.
    """
    if not stored:
        return None
    if not isinstance(stored, BaseException):
        stored = build_exception(stored)
    if serializer in EXCEPTION_ABLE_CODECS:
        stored = get_pickled_exception(stored)
    error: BaseException = stored
    return error


def build_exception(stored: Any) -> BaseException:
    """Return an exception made of ``{"exc_type", "exc_message", "exc_module"}``."""
    if not isinstance(stored, Mapping) or "exc_type" not in stored:
        # Somebody stored a failure with data of their own (``update_state("FAILURE", …)``).
        return Exception(stored)
    cls = find_exception_class(stored.get("exc_module"), from_utf8(stored["exc_type"]), stored)
    message = stored.get("exc_message", "")
    if stored.get("exc_group") and issubclass(cls, BaseExceptionGroup):
        message = [message[0], [build_exception(part) for part in stored["exc_group"]]]
    try:
        return cls(*message) if isinstance(message, (tuple, list)) else cls(message)
    except Exception:  # its __init__ wants other arguments than it left in `args`
        return without_init(cls, message, stored.get("exc_text"))


def without_init(cls: type[BaseException], message: Any, text: str | None) -> BaseException:
    """Return an exception of this class that only has its `args`, or one that describes it.

    - text: what the exception says; then one of the same name says it.
    """
    args = tuple(message) if isinstance(message, (tuple, list)) else (message,)
    try:
        made = cls.__new__(cls, *args)
        made.args = args
        str(made)
    except Exception:  # its text needs more than `args`
        if text:
            named: BaseException = create_exception_cls(cls.__name__, cls.__module__)(text)
            return named
        return Exception(f"{cls}({message})")
    return made


def find_exception_class(module: str | None, name: str, stored: Any) -> type[BaseException]:
    """Return the class ``module.name``, or one made for the occasion if it is not to be found.

    Raises:
        SecurityError: there is something of that name, and it is not an exception class.
    """
    if module is None:
        made: type[BaseException] = create_exception_cls(name, __name__)
        return made
    module = from_wire_module(from_utf8(module))
    try:
        found: Any = sys.modules.get(module) or import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        return create_exception_cls(name.rpartition(".")[2], module)
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise SecurityError(
            f"Expected an exception class, got {module}.{name} with payload {stored!r}"
        )
    return found


def to_wire_module(module: str) -> str:
    """Return the module name to store for a class defined in `module`."""
    if module.startswith(OUR_PREFIX):
        return WIRE_PREFIX + module[len(OUR_PREFIX) :]
    return module


def from_wire_module(module: str) -> str:
    """Return the module to look in for a class stored as being in `module`."""
    if module.startswith(WIRE_PREFIX):
        return OUR_PREFIX + module[len(WIRE_PREFIX) :]
    return module
