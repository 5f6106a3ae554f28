"""Unnamed files whose descriptors are passed to other processes."""

from __future__ import annotations

import os
import tempfile

__all__ = ("shared_file",)


def shared_file(size: int, name: str) -> int:
    """Return a descriptor of an unnamed file of ``size`` bytes, in memory where possible."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
    else:
        with tempfile.TemporaryFile(prefix=name) as file:
            fd = os.dup(file.fileno())
    if size:
        os.truncate(fd, size)
    return fd
