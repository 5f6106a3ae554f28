"""Makes an event loop come back at once: a descriptor that is readable after `set`."""

from __future__ import annotations

import os

__all__ = ("Wakeup",)

#: What an eventfd takes; a pipe takes anything.
ONE = (1).to_bytes(8, "little")


class Wakeup:
    """A flag with a descriptor. One thread clears it, any thread may set it."""

    def __init__(self) -> None:
        if hasattr(os, "eventfd"):
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
        self._is_set = False

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader

    def set(self) -> None:
        """Make the descriptor readable."""
        if not self._is_set:
            self._is_set = True
            os.write(self._writer, ONE)

    def clear(self) -> None:
        """Make it unreadable again; to be called before looking at what it was set for."""
        try:
            os.read(self._reader, 64)
        except BlockingIOError:
            # Another thread has set the flag and is about to write.
            return
        # Not before reading: a flag that is set in between would be read away and stay set.
        self._is_set = False

    def close(self) -> None:
        """Close the descriptor."""
        for fd in {self._reader, self._writer}:
            os.close(fd)
