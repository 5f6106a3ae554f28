"""Which of the copies of a message is run: asked by workers about messages with the header for it.

See `taskq.beat.outbox` for why there may be two.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from taskq.beat.leases import OutboxLease, open_lease
from taskq.utils.log import get_logger

__all__ = ("Copies",)

logger = get_logger("celery.beat")

#: Seconds for which it is tried to ask, and between two attempts.
PATIENCE, PAUSE = 20.0, 0.5


class Copies:
    """Asks the store that beats have their lease in; for the worker's app."""

    def __init__(self) -> None:
        self._lease: OutboxLease | None = None
        self._lock = threading.Lock()

    def is_first(self, app: Any, header: Any, task_id: str) -> bool:
        """Return whether a copy may be run: the first that is asked about, however often it comes.

        If the store cannot be asked it may: a task must not be lost.
        """
        if not isinstance(header, str) or " " not in header:
            return True  # Not of a beat's making.
        key, copy = header.split(" ", 1)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._ask(app, key, task_id, copy)
            except Exception as exc:
                if time.monotonic() > deadline:
                    logger.error(
                        "beat: cannot tell whether task %s has been run already, it is run: %r",
                        task_id,
                        exc,
                    )
                    return True
            time.sleep(PAUSE)

    def _ask(self, app: Any, key: str, task_id: str, copy: str) -> bool:
        with self._lock:
            lease = self._lease
            if lease is None:
                opened = open_lease(app)
                if not isinstance(opened, OutboxLease):
                    return True  # This worker's broker keeps the lease, and no copies then.
                lease = self._lease = opened
            try:
                return lease.is_first(key, task_id, copy)
            except Exception:
                self._lease = None
                lease.close()
                raise
