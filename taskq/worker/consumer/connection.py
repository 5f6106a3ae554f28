"""The step that connects the consumer to the broker."""

from __future__ import annotations

from typing import Any

from kombu.common import ignore_errors

from taskq import bootsteps
from taskq.app.censoring import filter_hidden_settings
from taskq.utils.log import get_logger

__all__ = ("Connection",)

logger = get_logger("celery.worker.consumer.connection")


class Connection(bootsteps.StartStopStep):
    """The connection that tasks are consumed over."""

    def __init__(self, c: Any, **kwargs: Any) -> None:
        c.connection = None
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Connect; retried as the ``broker_connection_*`` settings say."""
        c.connection = c.connect()
        logger.info("Connected to %s", c.connection.as_uri())

    def close_connection(self, c: Any) -> None:
        """Close the connection, whatever state it is in."""
        connection, c.connection = c.connection, None
        if connection is not None:
            ignore_errors(connection, connection.close)

    def shutdown(self, c: Any) -> None:
        """Close the connection for good."""
        self.close_connection(c)

    def info(self, c: Any) -> dict[str, Any]:
        """Return what ``inspect stats`` tells about the broker."""
        params: dict[str, Any] = {}
        if c.connection is not None:
            # Secrets are never sent over the wire: those in options and alternates neither.
            params = filter_hidden_settings(c.connection.info())
            params.pop("password", None)
        return {"broker": params}
