"""When the scheduler stores its entries, for those of its subclasses that can."""

from __future__ import annotations

import time

from taskq.utils.log import get_logger

__all__ = ("SyncTimer",)

logger = get_logger("celery.beat")


class SyncTimer:
    """Side of the scheduler that stores its entries now and then."""

    #: Seconds between two times of storing the schedule.
    sync_every: float = 3 * 60
    #: Tasks sent between two times of storing the schedule.
    sync_every_tasks: int | None = None

    _last_sync: float | None = None
    _tasks_since_sync = 0

    def should_sync(self) -> bool:
        """Return whether it is time to store the schedule."""
        if self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            logger.debug("beat: Synchronizing schedule...")
            self.sync()
        except Exception as exc:
            # What is due is sent all the same; the next time may do.
            logger.error("beat: cannot store the schedule: %r", exc, exc_info=True)
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Store the schedule. Nothing here; for subclasses."""
