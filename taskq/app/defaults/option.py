"""What one setting is: its default, its type, its older names; and a group of settings.

Used by ``table``, which lists them all, and by whoever turns text into a setting's value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


def to_bool(value: Any) -> bool:
    """Return the truth value that *value* spells.

    Text counts by meaning (``"yes"``, ``"off"``, ``"0"``, …), anything else by Python's rules.

    Raises:
        TypeError: the text is none of the known words.
    """
    if not isinstance(value, str):
        return bool(value)
    word = value.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise TypeError(
        f"cannot read {value!r} as a boolean: say one of true/false, yes/no, on/off, 1/0"
    )


def _to_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _to_list(value: Any) -> list[Any]:
    return value.split(",") if isinstance(value, str) else list(value)


def _unchanged(value: Any) -> Any:
    return value


class Option:
    """One setting.

    Parameters:
        default: the value where nobody sets one.
        type: name of the value's type, a key of ``typemap``.
        old: older lower-case names; in a group, ``{0}`` stands for the setting's name.
        deprecate_by, remove_by: versions in which the setting is deprecated, and removed.
        alt: what to use instead, for the deprecation warning.
    """

    alt: str | None = None
    deprecate_by: str | None = None
    remove_by: str | None = None
    old: frozenset[str] = frozenset()
    type: str

    #: Name of a type -> how text becomes a value of it.
    typemap: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "any": _unchanged,
        "bool": to_bool,
        "bytes": _to_bytes,
        "dict": dict,
        "float": float,
        "int": int,
        "list": _to_list,
        "string": str,
        "tuple": lambda value: tuple(_to_list(value)),
    }

    def __init__(self, default: Any = None, *args: Any, **kwargs: Any) -> None:
        self.default = default
        self.type = kwargs.pop("type", None) or "string"
        for name, value in kwargs.items():
            setattr(self, name, value)

    def to_python(self, value: Any) -> Any:
        """Return *value*, usually text from a command line, as this setting's type."""
        return self.typemap[self.type](value)

    def __repr__(self) -> str:
        return f"<Option: type->{self.type} default->{self.default!r}>"


def Namespace(__old__: set[str] | None = None, **options: Option) -> dict[str, Option]:
    """Return the group of *options*, each known by the older names *__old__* unless it has its own.

    Parameters:
        __old__: patterns in which ``{0}`` stands for the option's name.
    """
    for name, option in options.items():
        patterns = option.old or __old__
        if patterns:
            option.old = frozenset(pattern.format(name) for pattern in patterns)
    return options
