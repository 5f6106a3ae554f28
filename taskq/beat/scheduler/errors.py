"""What sending a due task may end in."""

from __future__ import annotations

__all__ = ("BrokerUnreachable", "SchedulingError", "Unsent")


class SchedulingError(Exception):
    """A due task could not be sent."""


class BrokerUnreachable(SchedulingError):
    """A due task could not be sent because the broker is away: it is to be tried again."""


class Unsent(BrokerUnreachable):
    """Due tasks are written down, to be sent before any others once the broker can be reached."""
