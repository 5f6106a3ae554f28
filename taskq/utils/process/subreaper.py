"""Becoming the parent of a descendant whose own parent ended; Linux only.

Used by the pool, whose fork server starts children that the worker must be able to wait for.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Option of prctl(2).
_PR_SET_CHILD_SUBREAPER = 36

#: Whether this system has it.
AVAILABLE = sys.platform == "linux"


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """Have descendants that lose their parent become children of this process, in a block."""
    _set(1)
    try:
        yield
    finally:
        _set(0)


def _set(on: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER, {on}): {os.strerror(number)}")
