"""Renames settings in the text of a Python module, wherever their old names stand as names."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable

from taskq.app.defaults import _TO_NEW_KEY


def renamed(source: str, new_name: Callable[[str], str | None]) -> str:
    """Return Python source in which names are replaced; strings and comments stay.

    - new_name: returns the new name of a name, None to keep it.

    Raises tokenize.TokenError or SyntaxError for what is not Python.
    """
    lines = source.splitlines(keepends=True)
    # From the end, so that the columns of what comes before stay right.
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        name = new_name(token.string) if token.type == tokenize.NAME else None
        if name is not None:
            row, start = token.start
            line = lines[row - 1]
            lines[row - 1] = f"{line[:start]}{name}{line[token.end[1] :]}"
    return "".join(lines)


def new_setting(name: str) -> str | None:
    """Return the name of today of a setting's old name, None for any other name."""
    return _TO_NEW_KEY.get(name)


def prefixed_setting(name: str) -> str | None:
    """Return the same as Django's settings want it: upper case, behind ``CELERY_``."""
    new = new_setting(name)
    return f"CELERY_{new.upper()}" if new is not None else None
