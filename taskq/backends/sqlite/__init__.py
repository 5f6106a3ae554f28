"""Results in an SQLite database file, which may be the broker's file too.

`store` keeps keys and values, `chords` counts headers, `source` waits, `backend` ties them
together.
"""

from __future__ import annotations

from taskq.backends.sqlite.backend import SQLiteBackend

__all__ = ("SQLiteBackend",)
