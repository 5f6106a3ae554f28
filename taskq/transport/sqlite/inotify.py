"""Linux's file notification, by way of ctypes: a descriptor that becomes readable on a touch."""

from __future__ import annotations

import ctypes
import os
import weakref

__all__ = ("Inotify", "InotifyUnavailable")

IN_ATTRIB = 0x00000004
IN_NONBLOCK = os.O_NONBLOCK
IN_CLOEXEC = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
#: Enough for every event of a few watches; more are read the next time.
READ_SIZE = 4096


class InotifyUnavailable(OSError):
    """The system has no inotify, or this user has used up its instances or watches."""


class Inotify:
    """One inotify instance that watches one file at a time for touches (changes of its times)."""

    def __init__(self) -> None:
        try:
            self._libc = ctypes.CDLL(None, use_errno=True)
            fd = self._libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
        except (AttributeError, OSError, TypeError) as exc:
            raise InotifyUnavailable(f"no inotify on this system: {exc}") from exc
        if fd < 0:
            raise _error("inotify_init1")
        self._fd: int = fd
        # Event loops end without a word, and what they listened with goes with them.
        self._close = weakref.finalize(self, os.close, fd)
        self._watch = -1

    def fileno(self) -> int:
        """Return the descriptor, readable when the file was touched."""
        return self._fd

    def watch(self, path: str) -> None:
        """Watch the file that is at `path` now, and no other any more.

        Raises:
            InotifyUnavailable: the file is not there, or the user's watches are used up.
        """
        watch = self._libc.inotify_add_watch(self._fd, os.fsencode(path), IN_ATTRIB)
        if watch < 0:
            raise _error(f"inotify_add_watch {path}")
        if self._watch not in (-1, watch):
            # Fails when the former file is gone, and its watch with it.
            self._libc.inotify_rm_watch(self._fd, self._watch)
        self._watch = watch

    def drain(self) -> bool:
        """Read what is there without blocking; return whether there was anything."""
        try:
            return bool(os.read(self._fd, READ_SIZE))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close the descriptor."""
        self._close()


def _error(call: str) -> InotifyUnavailable:
    code = ctypes.get_errno()
    return InotifyUnavailable(code, f"{call}: {os.strerror(code)}")
