"""Sending something once, though whoever sent it may have died before it could note that.

Bodies and errbacks of chords are sent with this. What is sent has ids that are known beforehand;
a broker of ours leaves out a message whose id it got this way before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ("sending_once", "with_fixed_id")

#: What ids of errbacks are made under.
NAMESPACE = uuid.UUID("7d2f6d2e-6c0b-5f0e-9b3e-1f0a4f1f6c55")


@contextmanager
def sending_once(app: Any, lifetime: int, scope: str = "") -> Iterator[Any]:
    """Give a producer; what is sent with it is published together at the end.

    On Redis and SQLite, messages whose ids were published this way before are left out. Other
    brokers get them again.

    Parameters:
        app: the app that sends.
        lifetime: seconds for which the broker remembers the ids.
        scope: what is sent; another thing may have the same ids, as a task has that another one
            was replaced by.
    """
    with app.producer_or_acquire(None) as producer:  # noqa: SIM117 - the second needs the first
        with app.amqp.batch(producer, once=lifetime, scope=f"{scope}." if scope else ""):
            yield producer


def with_fixed_id(app: Any, errback: Any, failed_id: str, position: int) -> Any:
    """Return a copy of an errback with an id, the same each time.

    Parameters:
        app: the app to send it with.
        errback: signature of it, or a dict that describes one; a workflow stays without id.
        failed_id: id of the task that failed.
        position: of the errback among those of the task.
    """
    sig = app.signature(errback)
    if not sig.id and not sig.subtask_type:
        sig.set(task_id=str(uuid.uuid5(NAMESPACE, f"{failed_id} {position} {sig.task}")))
    return sig
