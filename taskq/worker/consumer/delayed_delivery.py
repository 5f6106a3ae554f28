"""The step that makes the queues in which RabbitMQ delays messages for quorum queues.

See `taskq.app.delayed` for why, and for the sending side.
"""

from __future__ import annotations

from typing import Any

from taskq import bootsteps
from taskq.app.delayed import declare_delay_queues, uses_delay_queues
from taskq.utils.log import get_logger
from taskq.worker.consumer.tasks import Tasks

__all__ = ("DelayedDelivery",)

logger = get_logger("celery.worker.consumer.delayed_delivery")


class DelayedDelivery(bootsteps.StartStopStep):
    """Declares the queues that delay, and binds the worker's queues behind them."""

    requires = (Tasks,)

    def include_if(self, c: Any) -> bool:
        """Return whether the app has quorum queues at a RabbitMQ broker."""
        return uses_delay_queues(c.app)

    def start(self, c: Any) -> None:
        """Declare and bind; both may be there already.

        Raises ImproperlyConfigured for a queue type that there is not.
        """
        with c.app.connection_for_write() as connection:
            declare_delay_queues(c.app, connection, list(c.app.amqp.queues.values()))
        logger.info("Messages with an ETA are delayed by queues of the broker")
