"""Requests that wait in the worker: for their ETA, or for the rate limit of their task."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kombu.utils.limits import TokenBucket

from taskq.utils.time import rate
from taskq.worker.state import task_reserved, task_scheduled


class HeldRequests:
    """The part of a consumer that keeps them, and passes them on when they may run."""

    app: Any
    qos: Any
    timer: Any
    disable_rate_limits: bool
    #: Name of a task -> its token bucket, None without a rate limit.
    task_buckets: dict[str, Any]
    on_task_request: Callable[[Any], None]

    def hold_until(self, due: float, request: Any) -> None:
        """Keep a request in memory until unix time ``due``.

        It doesn't count as prefetched, unless ``worker_eta_task_limit`` are held already: then no
        more messages come until one of them is due.
        """
        before = self.qos.value
        request._widened_prefetch = self.qos.increment_eventually() > before
        request._eta_timer_entry = self.timer.call_after(
            max(0.0, due - time.time()), self.apply_eta_task, (request,), priority=6
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

    def bucket_for_task(self, type: Any) -> Any:
        """Return a token bucket for the task's rate limit, None when it has none."""
        limit = rate(getattr(type, "rate_limit", None))
        return TokenBucket(limit, capacity=1) if limit else None

    def reset_rate_limits(self) -> None:
        """Make the token buckets anew."""
        if self.disable_rate_limits:
            return
        self.task_buckets.update(
            (name, self.bucket_for_task(task)) for name, task in self.app.tasks.items()
        )

    def _limit_task(self, request: Any, bucket: Any, tokens: int) -> None:
        """Run the request when its rate limit allows it; others don't wait for it."""
        task_reserved(request)
        if bucket.contents:
            # Others of this task wait already.
            bucket.add((request, tokens))
            return
        if bucket.can_consume(tokens):
            self.on_task_request(request)
            return
        bucket.add((request, tokens))
        self._schedule_bucket_request(bucket)

    def _schedule_bucket_request(self, bucket: Any) -> None:
        """Run what the bucket has tokens for, and come back when it has more."""
        while bucket.contents:
            request, tokens = bucket.contents[0]
            if not bucket.can_consume(tokens):
                self.timer.call_after(
                    bucket.expected_time(tokens),
                    self._schedule_bucket_request,
                    (bucket,),
                    priority=4,
                )
                return
            bucket.pop()
            self.on_task_request(request)
