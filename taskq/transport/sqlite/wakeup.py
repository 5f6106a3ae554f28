"""Makes an event loop come back at once: a descriptor that is readable after `set`."""

from __future__ import annotations

import os

__all__ = ("Wakeup",)


class Wakeup:
    """A flag with a descriptor, for use by one thread."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._reader, self._writer = os.pipe()
        self._is_set = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader

    def set(self) -> None:
        """Make the descriptor readable."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, (1).to_bytes(8, "little"))

    def clear(self) -> None:
        """Make it unreadable again."""
        if self._is_set:
            self._is_set = False
            os.read(self._reader, 8)

    def close(self) -> None:
        """Close the descriptor."""
        for fd in {self._reader, self._writer}:
            os.close(fd)
