"""Carries large message bodies to children: one copy into a file in memory, one copy out of it.

The dispatcher stores a body and sends the file's descriptor along with the packet; when the child
is done with the task the file is used again, because fresh pages cost more than the copying.
"""

from __future__ import annotations

import os

from taskq.utils.sharedfile import shared_file

#: Bytes of memory in files that are kept for the next large bodies.
MOST_KEPT = 16 * 1024 * 1024


class BodyFiles:
    """Unnamed files for bodies that are on their way."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._free_bytes = 0
        self._sizes: dict[int, int] = {}

    def store(self, body: bytes | memoryview) -> int:
        """Write ``body`` to a file, and return its descriptor."""
        view, offset = memoryview(body).cast("B"), 0
        if self._free:
            fd = self._free.pop()
            self._free_bytes -= self._sizes[fd]
        else:
            fd = shared_file(0, "taskq-body")
        self._sizes[fd] = max(len(view), self._sizes.get(fd, 0))
        while offset < len(view):
            offset += os.pwrite(fd, view[offset:], offset)
        return fd

    def release(self, fd: int) -> None:
        """Take a file back that no child will read any more."""
        size = self._sizes[fd]
        if self._free_bytes + size <= MOST_KEPT:
            self._free.append(fd)
            self._free_bytes += size
        else:
            del self._sizes[fd]
            os.close(fd)

    def close(self) -> None:
        """Close all files, also those that are on their way."""
        for fd in self._sizes:
            os.close(fd)
        self._sizes.clear()
        self._free.clear()
        self._free_bytes = 0


def read_body(fd: int, size: int) -> bytes:
    """Return the first ``size`` bytes of the file ``fd``."""
    body = os.pread(fd, size, 0)
    while len(body) < size:
        # One read returns at most 2 GB.
        body += os.pread(fd, size - len(body), len(body))
    return body
