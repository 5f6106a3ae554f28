"""Fewer messages ahead after a reconnect, while tasks from before still occupy the pool.

Called by the consumer. Without it a worker whose processes are all busy would take messages that
others could run at once. ``worker_enable_prefetch_count_reduction`` turns it off.
"""

from __future__ import annotations

from typing import Any

from taskq.utils.log import get_logger
from taskq.worker.state import active_requests

logger = get_logger("celery.worker.consumer")

#: Seconds between two looks at which of those tasks have ended.
LOOK_INTERVAL = 0.5

REDUCED = (
    "Temporarily reducing the prefetch count to %s to avoid over-fetching since %s tasks are "
    "currently being processed.\nThe prefetch count will be gradually restored to %s as the tasks "
    "complete processing."
)
RESTORED = (
    "Resuming normal operations following a restart.\n"
    "Prefetch count has been restored to the maximum of %s"
)


def reduce(consumer: Any) -> None:
    """The connection was lost: prefetch only for that part of the pool that is free."""
    if not consumer.initial_prefetch_count:
        return  # there is no limit
    running = frozenset(active_requests)
    multiplier, maximum = consumer.prefetch_multiplier, consumer.max_prefetch_count
    consumer.running_since_loss = running
    consumer.initial_prefetch_count = max(multiplier, maximum - len(running) * multiplier)
    if consumer.initial_prefetch_count < maximum:
        logger.warning(REDUCED, consumer.initial_prefetch_count, len(running), maximum)


def restore_gradually(consumer: Any) -> None:
    """Consuming has begun again: prefetch more whenever one of the old tasks ends."""
    if consumer.initial_prefetch_count >= consumer.max_prefetch_count:
        consumer.running_since_loss = frozenset()
    if not consumer.running_since_loss:
        return
    qos, timer = consumer.qos, consumer.timer

    def look() -> None:
        if consumer.qos is not qos:  # connected anew since; it has a look of its own
            entry.cancel()
            return
        running = consumer.running_since_loss & frozenset(active_requests)
        maximum = consumer.max_prefetch_count
        wanted = max(
            consumer.initial_prefetch_count,
            maximum - len(running) * consumer.prefetch_multiplier,
        )
        qos.increment_eventually(wanted - consumer.initial_prefetch_count)
        consumer.initial_prefetch_count = wanted
        if wanted >= maximum:
            entry.cancel()
            consumer.running_since_loss = frozenset()
            logger.info(RESTORED, maximum)

    entry = timer.call_repeatedly(LOOK_INTERVAL, look)
