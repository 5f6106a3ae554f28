"""A signal from the system when our parent process dies; Linux only.

Used by pool processes, so that none outlives its worker.
"""

from __future__ import annotations

import ctypes
import os

#: Option of prctl(2).
_PR_SET_PDEATHSIG = 1


def send_on_parent_death(signum: int) -> None:
    """Have the system send us ``signum`` when our parent dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_PDEATHSIG, {signum}): {os.strerror(number)}")
