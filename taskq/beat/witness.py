"""What RabbitMQ itself knows of the run that was sent last, for whoever takes over.

A run's messages and its key go to it in one AMQP transaction, the key to a queue that keeps one
message. A leader that is killed in between has sent both or neither, and its successor looks which.
What remains in doubt, as after a restart of RabbitMQ, is for `taskq.beat.copies`.
"""

from __future__ import annotations

from typing import Any

from taskq.utils.log import get_logger

__all__ = ("Witness", "witness_for")

logger = get_logger("celery.beat")

#: The queue of the keys; the name of the lease follows.
QUEUE = "taskq.beat.sent"


def witness_for(channel: Any, name: str) -> Witness | None:
    """Return the witness at the broker of a channel, None where the broker can't be one.

    - name: of the lease.
    """
    if not hasattr(channel, "tx_select"):
        return None
    connection = channel.connection
    try:
        return Witness(connection, f"{QUEUE}.{name}" if name else QUEUE)
    except connection.channel_errors as exc:
        # Not allowed to, or not RabbitMQ.
        logger.info("beat: the broker cannot tell which run was sent last: %r", exc)
        return None


class Witness:
    """Publishes in transactions, and remembers the last one in a queue.

    Parameters:
        connection: of py-amqp.
        queue: name of the queue.
    """

    def __init__(self, connection: Any, queue: str) -> None:
        self.connection = connection
        self._queue = queue
        self._channel = connection.channel()
        self._channel.queue_declare(
            queue, durable=True, exclusive=False, auto_delete=False, arguments={"x-max-length": 1}
        )
        self._channel.tx_select()
        # A transaction's commit is confirmed, its messages one by one are not.
        self._publish = type(self._channel).basic_publish

    @property
    def is_open(self) -> bool:
        """Whether the broker has not closed the channel, as it does with what it refuses."""
        return bool(self._channel.is_open)

    def send(self, key: str, messages: list[tuple[Any, dict[str, Any]]]) -> None:
        """Publish the messages of a run, and its key; on return the broker has them.

        - messages: drafts with the headers to add.
        """
        channel = self._channel
        for draft, headers in messages:
            message, exchange, routing_key = draft.prepared(channel, headers)
            self._publish(
                channel, message, exchange=exchange, routing_key=routing_key, **draft.options
            )
        # Not written to disk: a broker that restarts has forgotten it, which leaves a doubt.
        said = channel.prepare_message(key.encode(), properties={"delivery_mode": 1})
        self._publish(channel, said, exchange="", routing_key=self._queue)
        channel.tx_commit()

    def knows(self, key: str) -> bool:
        """Return whether the run of this key was sent."""
        keys = []
        looking = self.connection.channel()
        try:
            while (message := looking.basic_get(self._queue, no_ack=False)) is not None:
                body = message.body
                keys.append(body if isinstance(body, str) else bytes(body).decode())
        except self.connection.channel_errors as exc:
            logger.warning("beat: the queue %s cannot be read: %r", self._queue, exc)
            return False
        # What it was given and has not acknowledged goes back.
        looking.close()
        return key in keys
