"""Requests of tasks with a rate limit: those that wait for it keep nobody else from running."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

from kombu.utils.limits import TokenBucket

from taskq.app.dead.source import source_queue
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.time import rate
from taskq.worker.consumer.aside import WaitingRoom
from taskq.worker.state import task_ready, task_reserved

#: Seconds of work that a limited task may have waiting in the worker; the rest goes back to a
#: broker that can keep it.
HELD_SECONDS = 5.0
#: Seconds after which a message that was given back is looked at again at the latest: the limit
#: may have changed by then, or another worker may have room for it.
LOOK_AGAIN = 60.0
#: The same where the broker keeps them with more effort (RabbitMQ), and wants those that are held
#: acknowledged within half an hour.
HELD_SECONDS_AMQP = 600.0
#: Requests of one task that are held beyond the prefetch count before RabbitMQ is to keep more.
MOST_HELD = 1000
#: The same where the broker can't keep them at all: those that come then take up its prefetch.
MOST_HELD_WITHOUT_HELP = 20_000


class RateLimiter(TokenBucket):
    """The tokens of one task, and the requests that wait for them.

    Parameters:
        fill_rate: executions per second.
    """

    def __init__(self, fill_rate: float) -> None:
        super().__init__(fill_rate, capacity=1)
        #: Timer entry that comes back when there is a token again.
        self.entry: Any = None
        self._next_slot = 0.0

    def slot(self) -> float:
        """Return when a request should come back that is to run after all that wait: unix time."""
        now = time.time()
        step: float = 1 / self.fill_rate
        slot: float = max(self._next_slot + step, now + len(self.contents) * step)
        if slot > now + LOOK_AGAIN:
            # Not all at the same time.
            return now + random.uniform(LOOK_AGAIN / 2, LOOK_AGAIN)
        self._next_slot = slot
        return slot

    def cancel(self) -> None:
        """Don't come back."""
        if self.entry is not None:
            self.entry.cancel()
            self.entry = None


class LimitedRequests:
    """The part of a consumer that keeps requests until the rate limit of their task lets them run.

    They don't count as prefetched, so that messages of other tasks come in past them. Redis and
    SQLite keep what would wait longer than `HELD_SECONDS`; on RabbitMQ a `WaitingRoom` does when
    too many are held, or too long, or when the prefetch count is fixed and they would fill it.
    """

    app: Any
    qos: Any
    timer: Any
    connection: Any
    hub: Any
    task_consumer: Any
    initial_prefetch_count: int
    disable_rate_limits: bool
    #: Whether the prefetch count stays what it was when consuming began.
    prefetch_is_static = False
    #: Name of a task -> its limiter, None without a rate limit.
    task_buckets: dict[str, Any]
    on_task_request: Callable[[Any], None]

    def bucket_for_task(self, type: Any) -> Any:
        """Return a limiter for the task's rate limit, None when it has none.

        Raises ImproperlyConfigured for a rate limit that is none.
        """
        try:
            limit = rate(getattr(type, "rate_limit", None))
        except ValueError as exc:
            raise ImproperlyConfigured(f"Task {type.name}: {exc}") from None
        return RateLimiter(limit) if limit else None

    def reset_rate_limits(self) -> None:
        """Apply the rate limits as they are now, also to what waits already."""
        if self.disable_rate_limits:
            return
        for name, task in self.app.tasks.items():
            before = self.task_buckets.get(name)
            after = self.task_buckets[name] = self.bucket_for_task(task)
            if before is not None and before.contents:
                self._move(before, after)

    def _move(self, before: RateLimiter, after: RateLimiter | None) -> None:
        """Let what waits for one limiter wait for another, or run when there is none."""
        before.cancel()
        if after is not None:
            after.contents.extend(before.contents)
            before.contents.clear()
            self._run_allowed(after)
            return
        while before.contents:
            self._run_next(before)

    def _limit_task(self, request: Any, bucket: RateLimiter, tokens: int) -> None:
        """Run the request when its rate limit allows it; others don't wait for it."""
        task_reserved(request)
        if not bucket.contents and bucket.can_consume(tokens):
            self.on_task_request(request)
            return
        ahead = len(bucket.contents)
        channel = request.message.channel
        if ahead / bucket.fill_rate > HELD_SECONDS and getattr(channel, "can_defer", False):
            channel.defer(request.message.delivery_tag, bucket.slot())
            request.acknowledged = True
            task_ready(request)
            return
        if self._set_aside(request, bucket):
            return
        bucket.add((request, ahead < MOST_HELD_WITHOUT_HELP and self._widen()))
        if bucket.entry is None:
            self._run_allowed(bucket)

    def _widen(self) -> bool:
        """Have one message more sent by the broker; False if it won't."""
        before = self.qos.value
        return bool(self.qos.increment_eventually() > before) and not self.prefetch_is_static

    def _set_aside(self, request: Any, bucket: RateLimiter) -> bool:
        """Let a message wait on RabbitMQ, if it is to and can; return whether it does."""
        ahead = len(bucket.contents)
        if (
            ahead < MOST_HELD
            and ahead / bucket.fill_rate <= HELD_SECONDS_AMQP
            and not (self.prefetch_is_static and self._fills_prefetch())
        ):
            return False
        room = self._waiting_room
        if room is None or not room.is_open or request.message.errors:
            return False
        queue = self._queue_of(request.message)
        if not queue:
            return False
        widened = len(room) < MOST_HELD and self._widen()

        def settled() -> None:
            if widened:
                self.qos.decrement_eventually()

        request.acknowledged = True
        task_ready(request)
        wait = bucket.slot() - time.time()
        room.admit(request.message, queue, request.task.name, wait, settled)
        return True

    def limited_requests(self) -> frozenset[Any]:
        """Return the requests that wait here for their rate limit."""
        return frozenset(
            request
            for bucket in self.task_buckets.values()
            if bucket is not None
            for request, _ in bucket.contents
        )

    def _fills_prefetch(self) -> bool:
        """Whether what is held leaves less than half of the prefetch count to other tasks."""
        held = sum(len(bucket.contents) for bucket in self.task_buckets.values() if bucket)
        return held >= self.initial_prefetch_count // 2

    @cached_property
    def _waiting_room(self) -> WaitingRoom | None:
        """Where messages can wait on the broker of this connection."""
        if self.connection.transport.driver_name != "py-amqp":
            return None
        return WaitingRoom(self.task_consumer.channel.connection, self.hub)

    def _forget_waiting_room(self) -> None:
        """The connection is gone."""
        room = self.__dict__.pop("_waiting_room", None)
        if room is not None:
            room.close()

    def _queue_of(self, message: Any) -> str:
        """Return the name of the queue that a message came from, "" if that can't be told."""
        tag = (message.delivery_info or {}).get("consumer_tag")
        for queue, consumer_tag in self.task_consumer._active_tags.items():
            if consumer_tag == tag:
                return str(queue)
        return source_queue(self.app, message)

    def _run_allowed(self, bucket: RateLimiter) -> None:
        """Run what there are tokens for, and come back when there are more."""
        bucket.entry = None
        while bucket.contents:
            if not bucket.can_consume(1):
                bucket.entry = self.timer.call_after(
                    bucket.expected_time(1), self._run_allowed, (bucket,), priority=4
                )
                return
            self._run_next(bucket)

    def _run_next(self, bucket: RateLimiter) -> None:
        request, widened = bucket.pop()
        self.on_task_request(request)
        if widened:
            self.qos.decrement_eventually()

    def forget_limited(self, request: Any) -> bool:
        """Drop a request that waits for its rate limit. Returns whether it did."""
        bucket = self.task_buckets[request.task.name]
        for entry in bucket.contents if bucket is not None else ():
            if entry[0] is request:
                bucket.contents.remove(entry)
                if entry[1]:
                    self.qos.decrement_eventually()
                return True
        return False
