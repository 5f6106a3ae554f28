"""Requests that wait in the worker for their ETA."""

from __future__ import annotations

import time
from typing import Any

from taskq.worker.consumer.limiting import LimitedRequests
from taskq.worker.state import task_reserved, task_scheduled

#: Priority of a waiting request among the timer's entries; ``inspect scheduled`` tells it.
ETA_PRIORITY = 6


class HeldRequests(LimitedRequests):
    """The part of a consumer that keeps them, and passes them on when they may run."""

    def hold_until(self, due: float, request: Any) -> None:
        """Keep a request in memory until unix time ``due``.

        It doesn't count as prefetched, unless ``worker_eta_task_limit`` are held already: then no
        more messages come until one of them is due.
        """
        before = self.qos.value
        request._widened_prefetch = self.qos.increment_eventually() > before
        request._eta_timer_entry = self.timer.call_after(
            max(0.0, due - time.time()), self.apply_eta_task, (request,), priority=ETA_PRIORITY
        )
        task_scheduled(request)

    def apply_eta_task(self, task: Any) -> None:
        """The ETA of a request has come."""
        task._eta_timer_entry = None
        task_reserved(task)
        bucket = self.task_buckets[task.task.name]
        if bucket is not None:
            self._limit_task(task, bucket, 1)
        else:
            self.on_task_request(task)
        if task._widened_prefetch:
            self.qos.decrement_eventually()
