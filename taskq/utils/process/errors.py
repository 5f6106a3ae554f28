"""Error numbers of the operating system, and ignoring some of them.

Used by pidfiles, daemons and whoever sends signals.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def get_errno_name(n: Any) -> Any:
    """Return the number of an error given by name (``"ENOENT"``); a number stays itself."""
    return getattr(errno, n) if isinstance(n, str) else n


@contextmanager
def ignore_errno(*errnos: int | str, **kwargs: Any) -> Iterator[None]:
    """Ignore some errors of the operating system in the ``with`` block.

    Parameters:
        errnos: numbers or names of the errors.
        types: keyword; exceptions to look at (default: all).
    """
    types = kwargs.get("types") or (Exception,)
    numbers = {get_errno_name(number) for number in errnos}
    try:
        yield
    except types as exc:
        if getattr(exc, "errno", None) not in numbers:
            raise
