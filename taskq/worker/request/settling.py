"""Telling the broker what became of a message, once, and monitors what happens to its task."""

from __future__ import annotations

from typing import Any

from taskq.utils.log import get_logger
from taskq.worker.request.descriptions import Described

__all__ = ("Settled",)

logger = get_logger("celery.worker.request")


class Settled(Described):
    """A request whose message can be acknowledged or rejected."""

    __slots__ = ()

    def acknowledge(self) -> None:
        """Acknowledge the message, once."""
        if not self.acknowledged:
            self._on_ack(logger, self._connection_errors)
            self.acknowledged = True

    def reject(self, requeue: bool = False) -> None:
        """Reject the message, once.

        - requeue: give it back to the queue instead of dropping or dead-lettering it.
        """
        if not self.acknowledged:
            self._on_reject(logger, self._connection_errors, requeue)
            self.acknowledged = True
            self.send_event("task-rejected", requeue=requeue)

    def send_event(self, type: str, **fields: Any) -> None:
        """Send an event about this task, when events are on."""
        if self.sends_events:
            self._eventer.send(type, uuid=self.id, **fields)

    @property
    def sends_events(self) -> bool:
        """Whether anything is told to monitors about this task."""
        eventer = self._eventer
        return bool(eventer is not None and self._task.send_events and eventer.takes("task"))
