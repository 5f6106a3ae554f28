"""Events: what workers and clients tell about tasks, for monitors.

`dispatcher` sends them, `receiver` gets them, `event` knows their shape and where they go.
"""

from __future__ import annotations

from taskq.events.dispatcher import EventDispatcher
from taskq.events.event import Event, event_exchange, get_exchange, group_from
from taskq.events.receiver import EventReceiver

__all__ = (
    "Event",
    "EventDispatcher",
    "EventReceiver",
    "event_exchange",
    "get_exchange",
    "group_from",
)
