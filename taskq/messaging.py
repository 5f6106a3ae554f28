"""First-generation names of the current app's connections and consumers, for its callers."""

from __future__ import annotations

from typing import Any

from taskq._state import get_current_app

__all__ = ("TaskConsumer", "establish_connection", "get_consumer_set")


def TaskConsumer(*args: Any, **kwargs: Any) -> Any:
    """Return a consumer of the app's task queues: see `AMQP.TaskConsumer`."""
    return get_current_app().amqp.TaskConsumer(*args, **kwargs)


get_consumer_set = TaskConsumer


def establish_connection(*args: Any, **kwargs: Any) -> Any:
    """Return a connection to the broker: see `TaskQ.connection`."""
    return get_current_app().connection(*args, **kwargs)
