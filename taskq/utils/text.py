"""Shortening, joining and formatting of text.

Used by log lines, banners and the command line.
"""

from __future__ import annotations

import io
import re
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "abbr",
    "abbrtask",
    "dedent",
    "dedent_initial",
    "ensure_newlines",
    "ensure_sep",
    "fill_paragraphs",
    "indent",
    "join",
    "pluralize",
    "pretty",
    "simple_format",
    "str_to_list",
    "truncate",
)

UNKNOWN_SIMPLE_FORMAT_KEY = """\
Unknown format %{0} in string {1!r}. Write %%{0} for a literal percent sign; if it was written so,
the value has been expanded twice (%%N -> %N -> hostname).
"""

RE_FORMAT = re.compile(r"%([%\w])")


def str_to_list(s: str | list[str]) -> list[str]:
    """Split text at commas; return a list unchanged."""
    return s.split(",") if isinstance(s, str) else s


def dedent_initial(s: str, n: int = 4) -> str:
    """Remove ``n`` leading spaces from the first line of ``s``, if it has them."""
    return s[n:] if s[:n] == " " * n else s


def dedent(s: str, sep: str = "\n") -> str:
    """Remove four leading spaces from every line."""
    return sep.join(dedent_initial(line) for line in s.splitlines())


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """Wrap every paragraph (separated by ``sep``) at ``width`` characters."""
    from textwrap import fill

    return sep.join(fill(paragraph, width) for paragraph in s.split(sep))


def join(l: list[str], sep: str = "\n") -> str:  # noqa: E741 - Celery's name
    """Join the strings that are not empty."""
    return sep.join(item for item in l if item)


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """Return ``s`` ending in at least ``n`` times ``sep``."""
    return s + sep * (n - s.count(sep))


ensure_newlines = partial(ensure_sep, "\n")


def abbr(S: str | None, max: int, ellipsis: str | bool = "...") -> str:
    """Cut ``S`` to ``max`` characters, of which the last are ``ellipsis``."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    return S[: max - len(ellipsis)] + ellipsis if isinstance(ellipsis, str) else S[:max]


def abbrtask(S: str | None, max: int) -> str:
    """Cut a task's name to ``max`` characters, taking them from the module's part."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    module, _, name = S.rpartition(".")
    module = abbr(module, max - len(name) - len("[.]"), False)
    return f"{module}[.]{name}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Put ``indent`` spaces before every line."""
    return sep.join(" " * indent + line for line in t.split(sep))


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Cut ``s`` after ``maxlen`` characters, at a word's end if possible, and append ``suffix``."""
    if maxlen and len(s) >= maxlen:
        return s[:maxlen].rsplit(" ", 1)[0] + suffix
    return s


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """Append ``suffix`` to ``text`` unless there is exactly one."""
    return text if n == 1 else text + suffix


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any) -> str:
    """Format ``value`` for people, containers on lines of their own.

    Parameters:
        value: the object to format.
        width: longest line, in characters.
        nl_width: longest line of a dict, in characters.
        sep: what starts the text of a container.
        kw: passed on to :func:`pprint.pformat`.
    """
    from pprint import pformat

    if isinstance(value, dict):
        return f"{sep} {pformat(value, 4, nl_width)[1:]}"
    if isinstance(value, tuple):
        return f"{sep}{' ' * 4}{pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def match_case(s: str, other: str) -> str:
    """Return ``s`` in capitals if ``other`` is, else in small letters."""
    return s.upper() if other.isupper() else s.lower()


def simple_format(
    s: str,
    keys: Mapping[str, Any],
    pattern: re.Pattern[str] = RE_FORMAT,
    expand: str = r"\1",
) -> str:
    """Replace ``%n`` and its like in ``s``; ``%%`` becomes ``%``.

    Parameters:
        s: the text.
        keys: letter -> value, or a function that returns it.
        pattern: what a placeholder looks like.
        expand: template that gives the key of a match.

    Raises ValueError if a letter is not in ``keys``.
    """
    if not s or ("%" not in s and pattern is RE_FORMAT):
        return s

    def resolve(match: re.Match[str]) -> str:
        key = match.expand(expand)
        if key == "%":
            return "%"
        try:
            value = keys[key]
        except KeyError:
            raise ValueError(UNKNOWN_SIMPLE_FORMAT_KEY.format(key, s)) from None
        return str(value() if callable(value) else value)

    return pattern.sub(resolve, s)


def remove_repeating_from_task(task_name: str, s: str) -> str:
    """Take the module of task ``task_name`` out of ``s``, which says it again and again."""
    # Used for documentation: 'proj.tasks.add' in a page about proj.tasks reads better as 'add'.
    module = f"{task_name.rpartition('.')[0]}."
    return remove_repeating(module, s)


def remove_repeating(substr: str, s: str) -> str:
    """Remove every occurrence of ``substr`` but the first."""
    first = s.find(substr)
    if first < 0:
        return s
    end = first + len(substr)
    return s[:end] + s[end:].replace(substr, "")


class WhateverIO(io.StringIO):
    """Text buffer that accepts bytes as well."""

    def __init__(self, v: bytes | str | None = None, *a: Any, **kw: Any) -> None:
        super().__init__(_decoded(v or ""), *a, **kw)

    def write(self, data: bytes | str) -> int:
        """Append ``data``; return how many characters were written."""
        return super().write(_decoded(data))


def _decoded(data: bytes | str) -> str:
    return data.decode() if isinstance(data, bytes) else data
