"""Signals: one-to-many calls between parts that do not know each other.

The class is in ``signal``; the signals themselves are in :mod:`taskq.signals`.
"""

from __future__ import annotations

from taskq.utils.dispatch.signal import Signal

__all__ = ("Signal",)
