"""Watches the resident memory of this process for ``max_memory_per_child``.

The child asks after each task, so reading it must cost little.
"""

from __future__ import annotations

import logging
import os
import resource
import sys

logger = logging.getLogger(__name__)

#: Bytes per kB, the unit of the setting.
KILOBYTE = 1024


class MemoryLimit:
    """A limit on the memory this process may keep.

    Parameters:
        limit: kB of resident memory.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._page_size = os.sysconf("SC_PAGE_SIZE")
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._statm = -1

    def exceeded(self) -> bool:
        """Return whether the process is above the limit, and log it if so."""
        used = self.resident()
        if used <= self.limit:
            return False
        logger.warning(
            "child process exiting after exceeding memory limit (%dKiB / %dKiB)", used, self.limit
        )
        return True

    def resident(self) -> int:
        """Return the resident memory in kB; its peak where the system tells no more."""
        if self._statm >= 0:
            pages = int(os.pread(self._statm, 128, 0).split()[1])
            return pages * self._page_size // KILOBYTE
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // KILOBYTE if sys.platform == "darwin" else peak
