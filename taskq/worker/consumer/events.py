"""The step that lets the worker send events."""

from __future__ import annotations

from typing import Any

from kombu.common import ignore_errors

from taskq import bootsteps
from taskq.worker.consumer.connection import Connection

__all__ = ("Events",)


class Events(bootsteps.StartStopStep):
    """Makes the event dispatcher.

    - task_events: send events about tasks; without_heartbeat, without_gossip: nobody else needs
      the dispatcher.
    """

    requires = (Connection,)

    def __init__(
        self,
        c: Any,
        task_events: bool = True,
        without_heartbeat: bool = False,
        without_gossip: bool = False,
        **kwargs: Any,
    ) -> None:
        self.groups = None if task_events else ["worker"]
        self.send_events = task_events or not without_gossip or not without_heartbeat
        self.enabled = self.send_events
        c.event_dispatcher = None
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Make the dispatcher; what an earlier one could not send is sent now."""
        previous = self._close(c)
        dispatcher = c.event_dispatcher = c.app.events.Dispatcher(
            c.connection_for_write(),
            hostname=c.hostname,
            enabled=self.send_events,
            groups=self.groups,
            buffer_group=["task"] if c.hub else None,
            on_send_buffered=c.on_send_event_buffered if c.hub else None,
        )
        transport = dispatcher.connection.transport
        if hasattr(transport, "answers_later"):
            transport.answers_later = True
        if previous is not None:
            dispatcher.extend_buffer(previous)
            dispatcher.flush()

    def stop(self, c: Any) -> None:
        """Nothing: events may still be sent while the worker stops."""

    def _close(self, c: Any) -> Any:
        dispatcher, c.event_dispatcher = c.event_dispatcher, None
        if dispatcher is not None:
            if dispatcher.connection is not None:
                ignore_errors(c, dispatcher.connection.close)
            ignore_errors(c, dispatcher.close)
        return dispatcher

    def shutdown(self, c: Any) -> None:
        """Close the dispatcher."""
        self._close(c)
