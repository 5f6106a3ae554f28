"""The step that sends heartbeats."""

from __future__ import annotations

from typing import Any

from taskq import bootsteps
from taskq.worker import heartbeat
from taskq.worker.consumer.events import Events

__all__ = ("Heart",)


class Heart(bootsteps.StartStopStep):
    """Starts the heart.

    - without_heartbeat: don't; heartbeat_interval: seconds between beats.
    """

    requires = (Events,)

    def __init__(
        self,
        c: Any,
        without_heartbeat: bool = False,
        heartbeat_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.enabled = not without_heartbeat
        self.heartbeat_interval = heartbeat_interval
        c.heart = None
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Begin to beat."""
        c.heart = heartbeat.Heart(c.timer, c.event_dispatcher, self.heartbeat_interval)
        c.heart.start()

    def stop(self, c: Any) -> None:
        """Stop beating."""
        heart, c.heart = c.heart, None
        if heart is not None:
            heart.stop()

    shutdown = stop
