"""What a child that was not forked from the main process gets from it as open files."""

from __future__ import annotations

import os
from collections.abc import Sequence

from taskq.concurrency.prefork.page import Page
from taskq.utils import leaseclock

__all__ = ("take_files",)


def take_files(files: Sequence[int]) -> Page:
    """Map the child's page and the clock of the worker's lease; return the page.

    - files: descriptors of the page and, if the worker has one, the clock.
    """
    page_fd, *lease = files
    page = Page(page_fd)
    os.close(page_fd)
    for fd in lease:
        os.set_inheritable(fd, False)
        leaseclock.adopt(fd)
    return page
