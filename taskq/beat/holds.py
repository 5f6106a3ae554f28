"""Keeps due tasks back where their entry's policies say so: jitter and overlap.

Asked by the scheduler before it sends. Which runs may be unfinished is stored with the last runs,
so a beat that takes over, or is started again, knows it too.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any

from taskq.backends.disabled import DisabledBackend
from taskq.exceptions import ImproperlyConfigured
from taskq.result import GroupResult
from taskq.utils.log import get_logger
from taskq.utils.time import maybe_make_aware

__all__ = ("Holds", "require_results")

logger = get_logger("celery.beat")

#: Seconds between two looks at a run that the next one waits for.
POLL_INTERVAL = 0.5

E_NO_RESULTS = (
    "Periodic task {entry!r}: overlap={overlap!r} needs results, which tell whether the last run "
    "has finished, and {reason}."
)


def require_results(app: Any, entry: Any) -> None:
    """Raise ImproperlyConfigured for an entry that would wait for a result which never comes."""
    if not _cares(entry):
        return
    backend, task = app.backend, app.tasks.get(entry.task)
    ignored = (entry.options or {}).get("ignore_result", getattr(task, "ignore_result", False))
    if isinstance(backend, DisabledBackend):
        reason = "no result_backend is set"
    elif not type(backend).persistent:
        reason = f"those of {backend.as_uri()} are for the caller only: set another result_backend"
    elif ignored:
        reason = (
            f"those of {entry.task} are ignored: set ignore_result=False for the task or the entry"
        )
    else:
        return
    raise ImproperlyConfigured(
        E_NO_RESULTS.format(entry=entry.name, overlap=entry.policies.overlap, reason=reason)
    )


class Holds:
    """The due tasks that are kept back, and the runs that may be unfinished.

    Parameters:
        app: whose results tell whether a run has finished.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        #: Entry -> id of the last run, and the monotonic time after which it counts as finished.
        self._runs: dict[str, tuple[str, float]] = {}

    def wait(self, entry: Any) -> float:
        """Return the seconds for which a due entry is to be kept back; 0 if it may be sent."""
        policies = getattr(entry, "policies", None)
        if policies is None:
            return 0.0
        if policies.jitter:
            left = (_sent_at(entry) - maybe_make_aware(entry.default_now())).total_seconds()
            if left > 0:
                return float(min(left, policies.jitter))
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

    def sent(self, entry: Any, result: Any) -> None:
        """Remember the run of a result handle, if the entry cares."""
        if not _cares(entry):
            return
        if isinstance(result, GroupResult):
            try:
                result.save()
            except Exception as exc:
                logger.warning(
                    "beat: the result backend cannot keep the group %s, so %s overlaps: %r",
                    result.id,
                    entry.name,
                    exc,
                )
                return
        self.remember(entry, result.id)

    def remember(self, entry: Any, task_id: str) -> None:
        """Take a run for unfinished until its result says otherwise, if the entry cares."""
        if task_id and _cares(entry):
            self._runs[entry.name] = task_id, time.monotonic() + self._patience()

    def task_id(self, name: str) -> str:
        """Return the id of an entry's last run if it may be unfinished, else an empty string."""
        return self._runs.get(name, ("", 0.0))[0]

    def task_ids(self) -> dict[str, str]:
        """Return the ids of the runs that may be unfinished by entry."""
        return {name: task_id for name, (task_id, _) in self._runs.items()}

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
            if entry.task == "celery.group":
                group = GroupResult.restore(task_id, app=self._app)
                return bool(group is not None and group.ready())
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


def _cares(entry: Any) -> bool:
    policies = getattr(entry, "policies", None)
    return policies is not None and policies.overlap != "allow"


def _sent_at(entry: Any) -> Any:
    """Return when a due entry is sent, by its jitter: every beat comes to the same time."""
    due = entry.due_time()
    chance = random.Random(f"{entry.name} {due.isoformat()}")
    return due + timedelta(seconds=chance.uniform(0, entry.policies.jitter))
