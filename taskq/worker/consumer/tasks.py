"""The step that starts and stops the consumption of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu.common import PREFETCH_COUNT_MAX, QoS, ignore_errors

from taskq import bootsteps
from taskq.utils import leaseclock
from taskq.utils.log import get_logger
from taskq.worker import state
from taskq.worker.consumer.mingle import Mingle
from taskq.worker.consumer.slots import SlotLimit
from taskq.worker.early import EarlyAcks

__all__ = ("Tasks",)

logger = get_logger("celery.worker.consumer.tasks")


class Tasks(bootsteps.StartStopStep):
    """The task message consumer."""

    # After the events: what is done with a message is decided with their dispatcher at hand.
    requires = (Mingle,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        c.task_consumer = c.qos = None
        self._submit = c.on_task_request
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Declare the queues and set the prefetch count; consuming begins with the loop."""
        qos_global = self.qos_global(c)
        # What AMQP has bits for; pools of coroutines may want more.
        c.initial_prefetch_count = min(c.initial_prefetch_count, PREFETCH_COUNT_MAX)
        limit = _eta_limit(c.app.conf.worker_eta_task_limit, c.initial_prefetch_count)
        c.on_task_request = self._submit
        per_consumer = not (qos_global or c.connection.qos_semantics_matches_spec)
        c.prefetch_is_static = per_consumer
        if c.app.conf.worker_disable_prefetch and not _counts_what_runs(c.connection):
            slots = SlotLimit(
                c,
                apply_global=qos_global,
                per_consumer=per_consumer,
                most=limit,
            )
            c.qos, first = slots, slots.prev
            c.prefetch_is_static = True
            c.on_task_request = slots.before(self._submit)
        else:
            c.qos, first = None, c.initial_prefetch_count
        self._remember_early_acks(c)
        c.update_strategies()
        c.connection.default_channel.basic_qos(0, first, qos_global)
        c.task_consumer = c.app.amqp.TaskConsumer(c.connection, on_decode_error=c.on_decode_error)

        def set_prefetch_count(prefetch_count: int) -> Any:
            return c.task_consumer.qos(prefetch_count=prefetch_count, apply_global=qos_global)

        if c.qos is None:
            c.qos = QoS(set_prefetch_count, first, max_prefetch=limit)
        self._settle_before_dispatch(c)

    def _remember_early_acks(self, c: Any) -> None:
        """Know again what comes back since its early acknowledgement was lost.

        Channels of our own keep acknowledgements until the broker has confirmed them.
        """
        if hasattr(c.connection.default_channel, "flush"):
            c.early_acks = None
        elif c.early_acks is None:
            c.early_acks = EarlyAcks(
                lambda: max(c.qos.value, c.initial_prefetch_count) * len(c.task_consumer.queues)
            )
        else:
            c.early_acks.connection_lost()

    def _settle_before_dispatch(self, c: Any) -> None:
        """Have acknowledgements written before the tasks they belong to go to a child.

        What the broker has given to another worker meanwhile, as this one seemed dead, is dropped.
        """
        channel = c.task_consumer.channel
        flush = getattr(channel, "flush", None)
        if flush is None:
            c.pool.before_dispatch = _writing_acks(c, channel)
            return

        def before_dispatch() -> None:
            lost = flush()
            if lost:
                c.drop_lost(lost)

        c.pool.before_dispatch = before_dispatch
        if hasattr(channel, "lease_clock"):
            channel.lease_clock = leaseclock.current()
        if hasattr(channel, "on_lost"):
            channel.on_lost = c.drop_lost

    def stop(self, c: Any) -> None:
        """Stop consuming."""
        if c.task_consumer is not None:
            logger.debug("Canceling task consumer...")
            ignore_errors(c, c.task_consumer.cancel)

    def shutdown(self, c: Any) -> None:
        """Stop consuming and close the channel."""
        if c.task_consumer is not None:
            self.stop(c)
            logger.debug("Closing consumer channel...")
            ignore_errors(c, c.task_consumer.close)
            c.task_consumer = None
            c.pool.before_dispatch = None

    def info(self, c: Any) -> dict[str, Any]:
        """Return what ``inspect stats`` tells about consumption."""
        return {"prefetch_count": c.qos.value if c.qos is not None else "N/A"}

    def qos_global(self, c: Any) -> bool:
        """Return whether the prefetch count is shared by the consumers of a channel.

        Quorum queues know only the other kind.
        """
        if c.connection.qos_semantics_matches_spec:
            return False
        if c.app.conf.worker_detect_quorum_queues and _uses_quorum_queues(c.app):
            logger.info("Global QoS is disabled. Prefetch count in now static.")
            return False
        return True


def _counts_what_runs(connection: Any) -> bool:
    """Let tasks that are acknowledged when they start count as held until they have ended.

    So a message is taken only when something of the pool is free for it. Returns whether the
    transport can do that.
    """
    qos: Any = getattr(connection.default_channel, "qos", None)
    if not hasattr(qos, "occupied"):
        return False
    qos.occupied = lambda: sum(
        request.acknowledged and not request.leaves_loss for request in state.reserved_requests
    )
    return True


def _eta_limit(limit: int | None, prefetch_count: int) -> int | None:
    """Return how many messages may be held in all, of which all but the prefetched wait for an ETA.

    Fewer than are prefetched anyway would keep the pool idle.
    """
    return None if limit is None else max(int(limit), prefetch_count)


def _uses_quorum_queues(app: Any) -> bool:
    return any(
        (queue.queue_arguments or {}).get("x-queue-type") == "quorum"
        for queue in app.amqp.queues.consume_from.values()
    )


def _writing_acks(c: Any, channel: Any) -> Callable[[], None] | None:
    """Return what writes the acknowledgements that an AMQP channel holds; None if it holds none."""
    write_acks = getattr(channel, "write_acks", None)
    if write_acks is None:
        return None

    def before_dispatch() -> None:
        try:
            write_acks()
        except c.connection_errors as exc:
            # As with any acknowledgement that is lost: `EarlyAcks` knows the message again.
            logger.critical("Couldn't write acknowledgements, reason: %r", exc, exc_info=True)

    return before_dispatch
