"""Which process this is: the main one, or the how-manieth of the pool.

Pools set the index in their children; log formats and node names read it.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ("current_process", "current_process_index", "set_process_index")

_index: int | None = None


def set_process_index(index: int | None) -> None:
    """Say that this is child ``index`` of a pool, counted from 0 (None: no child)."""
    global _index
    _index = index


def current_process_index(base: int = 1) -> int | None:
    """Return the index of this pool child, counted from ``base``, or None in other processes."""
    index = _index
    if index is None:
        # Pools of other packages run on billiard, which keeps the index itself.
        billiard = sys.modules.get("billiard.process")
        if billiard is not None:
            index = getattr(billiard.current_process(), "index", None)
    return None if index is None else index + base


def current_process() -> Any:
    """Return billiard's object for this process, which has a ``name``."""
    from billiard.process import current_process as billiard_current_process

    return billiard_current_process()
