"""The prefork pool: tasks run in child processes that are forked ahead of time.

The default pool. Its public names are Celery's; the parts live in the modules of this package.
"""

from __future__ import annotations

from taskq.concurrency.prefork.initializer import (
    WORKER_SIGIGNORE,
    WORKER_SIGRESET,
    process_destructor,
    process_initializer,
)
from taskq.concurrency.prefork.pool import TaskPool

TaskPool.__module__ = __name__

__all__ = (
    "WORKER_SIGIGNORE",
    "WORKER_SIGRESET",
    "TaskPool",
    "process_destructor",
    "process_initializer",
)
