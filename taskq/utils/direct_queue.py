"""The queue that one worker has to itself; apart from node names because it needs kombu.

Used through ``taskq.utils.nodenames.worker_direct``.
"""

from __future__ import annotations

from kombu import Exchange, Queue

from taskq.utils.nodenames import WORKER_DIRECT_QUEUE_FORMAT

#: Exchange of all direct queues; a name on the wire.
WORKER_DIRECT_EXCHANGE = Exchange("C.dq2")


def direct_queue(hostname: str | Queue) -> Queue:
    """Return the queue of worker ``hostname``; a queue is returned unchanged."""
    if isinstance(hostname, Queue):
        return hostname
    return Queue(
        WORKER_DIRECT_QUEUE_FORMAT.format(hostname=hostname), WORKER_DIRECT_EXCHANGE, hostname
    )
