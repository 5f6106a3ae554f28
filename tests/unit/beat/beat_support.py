"""Apps whose periodic tasks go to a queue in memory, and schedulers on them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from taskq import TaskQ
from taskq.beat import Scheduler


def make_app(**conf: Any) -> TaskQ:
    """Return an app without results to clean up."""
    app = TaskQ("beat", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(**conf)
    return app


def ago(**kwargs: Any) -> datetime:
    """Return a time in the past."""
    return datetime.now(UTC) - timedelta(**kwargs)


def tick_all(scheduler: Scheduler, limit: int = 100) -> None:
    """Tick until the scheduler would sleep."""
    for _ in range(limit):
        if scheduler.tick() > 0:
            return
    raise AssertionError(f"still something to do after {limit} ticks")


def sent(app: TaskQ) -> list[Any]:
    """Take the messages that were sent, as they are in the queue."""
    with app.connection_for_read() as connection:
        return list(_messages(app, connection))


def _messages(app: TaskQ, connection: Any) -> Iterator[Any]:
    queue = app.amqp.queues[app.conf.task_default_queue](connection.default_channel)
    while True:
        message = queue.get(no_ack=True)
        if message is None:
            return
        yield message
