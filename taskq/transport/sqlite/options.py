"""What a ``sqlite://`` URL says: which file, and how to use it.

Read by the transport and by the result backend, so that both treat one URL alike.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, unquote

from taskq.exceptions import ImproperlyConfigured

__all__ = ("DEFAULT_FILE", "Options", "parse_url")

#: The file that ``sqlite:///`` names: in the current directory.
DEFAULT_FILE = "taskq.db"

#: How far a commit is on the disk when it returns, as SQLite's pragma of this name.
SYNCHRONOUS_LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")

E_NOT_A_FILE = (
    "The URL {url!r} names no database file. Write sqlite:///relative.db or "
    "sqlite:////absolute/path.db."
)
E_MEMORY = (
    "The URL {url!r} names a database in memory, which other processes cannot see. Use a file "
    "(sqlite:///taskq.db), or memory:// as the broker of a single process."
)
E_UNKNOWN_OPTION = "Unknown option {name!r} in {url!r}. Known options: {known}."
E_BAD_OPTION = "The option {name}={value!r} of a sqlite:// URL is not valid: {reason}."


@dataclass(frozen=True, slots=True)
class Options:
    """A database file and the settings of a connection to it."""

    #: Absolute path of the database file.
    path: str
    #: OFF, NORMAL, FULL or EXTRA. NORMAL survives the death of any process, FULL also that of
    #: the machine (at the price of one disk flush per commit).
    synchronous: str = "NORMAL"
    #: Seconds without a sign of life after which a consumer's messages go to others.
    lease: float = 15.0
    #: Seconds to wait for another process's transaction before giving up.
    busy_timeout: float = 5.0
    #: Size in pages (of 4 KiB) that the write-ahead log may reach before it is folded back.
    checkpoint: int = 4000
    #: Permission bits of a file that is created, as a number (written in octal in the URL).
    mode: int = 0o600
    #: Which queue goes first among messages of equal priority: round_robin, priority (the order
    #: in which they were consumed) or sorted (by name).
    queue_order_strategy: str = "round_robin"

    def updated(self, values: Mapping[str, Any]) -> Options:
        """Return these options with those of `values` that are ours; others are ignored."""
        own = {name: value for name, value in values.items() if name in CONVERTERS}
        return replace(self, **{name: _convert(name, value) for name, value in own.items()})


def parse_url(url: str, defaults: Mapping[str, Any] | None = None) -> Options:
    """Read a ``sqlite:///file?option=value`` URL.

    Parameters:
        url: three slashes and a path relative to the current directory, or four slashes for an
            absolute one. Options: the fields of `Options` but `path`.
        defaults: options for what the URL does not say; names that are not ours are ignored.

    Raises:
        taskq.exceptions.ImproperlyConfigured: no file is named, or an option is not valid.
    """
    location, _, query = url.partition("?")
    _, _, rest = location.partition("://")
    if ":memory:" in rest:
        raise ImproperlyConfigured(E_MEMORY.format(url=url))
    if not rest.startswith("/"):
        raise ImproperlyConfigured(E_NOT_A_FILE.format(url=url))
    path = unquote(rest[1:]) or DEFAULT_FILE
    if path.endswith("/"):
        raise ImproperlyConfigured(E_NOT_A_FILE.format(url=url))
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name in given:
        if name not in CONVERTERS:
            known = ", ".join(sorted(CONVERTERS))
            raise ImproperlyConfigured(E_UNKNOWN_OPTION.format(name=name, url=url, known=known))
    return Options(os.path.abspath(path)).updated(defaults or {}).updated(given)


def _convert(name: str, value: Any) -> Any:
    try:
        return CONVERTERS[name](value)
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(E_BAD_OPTION.format(name=name, value=value, reason=exc)) from exc


def _positive(value: Any) -> float:
    seconds = float(value)
    if not 0 < seconds < float("inf"):
        raise ValueError("it must be a number of seconds above 0")
    return seconds


def _pages(value: Any) -> int:
    pages = int(value)
    if pages < 1:
        raise ValueError("it must be a whole number above 0")
    return pages


def _mode(value: Any) -> int:
    if isinstance(value, str):
        if not re.fullmatch("(0o)?[0-7]{3,4}", value):
            raise ValueError("it must be permission bits in octal, such as 0600")
        value = int(value.removeprefix("0o"), 8)
    return int(value)


def _choice(*choices: str) -> Callable[[Any], str]:
    by_key = {choice.lower(): choice for choice in choices}

    def choose(value: Any) -> str:
        try:
            return by_key[str(value).lower()]
        except KeyError:
            raise ValueError(f"it must be one of {', '.join(choices)}") from None

    return choose


#: Option -> function that makes its value of what the URL or the transport options say.
CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "synchronous": _choice(*SYNCHRONOUS_LEVELS),
    "lease": _positive,
    "busy_timeout": _positive,
    "checkpoint": _pages,
    "mode": _mode,
    "queue_order_strategy": _choice("round_robin", "priority", "sorted"),
}
