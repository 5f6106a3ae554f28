"""Keeps due tasks back where their entry's policies say so: jitter and overlap.

Asked by the scheduler before it sends. What it knows is of this process only: after a restart no
task counts as running.
"""

from __future__ import annotations

import random
import time
from typing import Any

from taskq.utils.log import get_logger

__all__ = ("Holds",)

logger = get_logger("celery.beat")

#: Seconds between two looks at a run that the next one waits for.
POLL_INTERVAL = 0.5


class Holds:
    """The due tasks that are kept back, and the runs that may be unfinished.

    Parameters:
        app: whose results tell whether a run has finished.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        #: Entry -> monotonic time until which its jitter keeps it back.
        self._until: dict[str, float] = {}
        #: Entry -> id of the last run, and the monotonic time after which it counts as finished.
        self._runs: dict[str, tuple[str, float]] = {}

    def wait(self, entry: Any) -> float:
        """Return the seconds for which a due entry is to be kept back; 0 if it may be sent."""
        policies = getattr(entry, "policies", None)
        if policies is None:
            return 0.0
        if policies.jitter:
            now = time.monotonic()
            if entry.name not in self._until:
                self._until[entry.name] = now + random.uniform(0, policies.jitter)
            left = self._until[entry.name] - now
            if left > 0:
                return left
        if policies.overlap == "queue" and self._is_running(entry):
            return POLL_INTERVAL
        return 0.0

    def skips(self, entry: Any) -> bool:
        """Return whether this run is left out because the last one has not finished."""
        policies = getattr(entry, "policies", None)
        if policies is None or policies.overlap != "skip" or not self._is_running(entry):
            return False
        logger.info("Scheduler: %s is still running, this run is left out.", entry.name)
        return True

    def sent(self, entry: Any, task_id: str) -> None:
        """Remember a run, if the entry cares."""
        policies = getattr(entry, "policies", None)
        if policies is not None and policies.overlap != "allow":
            self._runs[entry.name] = task_id, time.monotonic() + self._patience()

    def passed(self, entry: Any) -> None:
        """The entry was sent or left out: its next run has a jitter of its own."""
        self._until.pop(entry.name, None)

    def _is_running(self, entry: Any) -> bool:
        run = self._runs.get(entry.name)
        if run is None:
            return False
        task_id, end = run
        if time.monotonic() < end and not self._has_finished(entry, task_id):
            return True
        del self._runs[entry.name]
        return False

    def _has_finished(self, entry: Any, task_id: str) -> bool:
        try:
            return bool(self._app.AsyncResult(task_id).ready())
        except Exception as exc:
            # Not knowing is no reason to run it twice at a time, nor to stop the other entries.
            logger.warning("beat: cannot tell whether %s still runs: %r", entry.name, exc)
            return False

    def _patience(self) -> float:
        """Return the seconds after which a run counts as finished: its result would be gone."""
        expires = self._app.conf.result_expires
        seconds = expires.total_seconds() if hasattr(expires, "total_seconds") else expires
        return float(seconds or float("inf"))
