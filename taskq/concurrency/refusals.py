"""Says once, with the reason, that a pool can't enforce time limits.

Used by the pools whose tasks can't be interrupted from outside.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from taskq.concurrency.jobs import Job

logger = logging.getLogger(__name__)


class LimitRefusal:
    """Warns the first time a limit is asked for that the pool can't keep.

    Parameters:
        pool: name of the pool.
        options: the pool's options; its default limits are ``timeout`` and ``soft_timeout``.
    """

    def __init__(self, pool: str, options: Mapping[str, Any]) -> None:
        self._pool = pool
        self._said = False
        if options.get("timeout") or options.get("soft_timeout"):
            self._say("the worker's default time limits")

    def check(self, job: Job) -> None:
        """Warn if ``job`` has a limit and is no coroutine: those have theirs kept by their loop."""
        if self._said or not (job.soft_limit or job.hard_limit):
            return
        if not getattr(getattr(job, "task", None), "is_coroutine", False):
            self._say(f"the time limits of task {job.name}")

    def _say(self, what: str) -> None:
        self._said = True
        logger.warning(
            "The %s pool can't enforce %s: a task in it can't be interrupted. Use the prefork pool"
            " for tasks that need time limits.",
            self._pool,
            what,
        )
