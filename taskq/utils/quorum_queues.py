"""Are there quorum queues among the app's queues?

The worker asks, because such queues have no global prefetch count.
"""

from __future__ import annotations

from typing import Any


def detect_quorum_queues(app: Any, driver_type: str) -> tuple[bool, str]:
    """Return True and the name of the first quorum queue, or False and an empty text.

    Parameters:
        app: the app.
        driver_type: driver type of the broker's transport; only ``"amqp"`` has such queues.
    """
    if driver_type != "amqp":
        return False, ""
    for name, queue in app.amqp.queues.items():
        if (queue.queue_arguments or {}).get("x-queue-type") == "quorum":
            return True, name
    return False, ""
