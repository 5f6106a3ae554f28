"""The scheduler's link to the broker: it may break, is told about once, and is made again."""

from __future__ import annotations

import time
from typing import Any

from kombu.exceptions import OperationalError
from kombu.utils.objects import cached_property

from taskq.beat.scheduler.errors import BrokerUnreachable
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds

__all__ = ("BrokerLink",)

logger = get_logger("celery.beat")

#: First and longest pause (seconds) between two attempts while the broker is away.
FIRST_RETRY, LONGEST_RETRY = 0.5, 5.0


class BrokerLink:
    """Side of the scheduler that has a connection and a producer."""

    app: Any
    #: Class of the producer.
    Producer: Any

    #: Monotonic time since when the broker is away.
    _away_since: float | None = None
    _retry_delay = FIRST_RETRY

    @cached_property
    def connection(self) -> Any:
        """The connection that tasks are sent on."""
        connection = self.app.connection_for_write()
        if connection.transport.driver_type == "amqp":
            # A run is written down when the broker has it, not when it is on its way.
            options = {"confirm_publish": True, **(connection.transport_options or {})}
            connection.transport_options = options
        return connection

    @cached_property
    def producer(self) -> Any:
        """The producer that tasks are sent with.

        Raises BrokerUnreachable.
        """
        return self.Producer(self._ensure_connected(), auto_declare=False)

    def _ensure_connected(self) -> Any:
        try:
            self.connection.ensure_connection(
                max_retries=1, timeout=self.app.conf.broker_connection_timeout
            )
        except Exception as exc:
            raise BrokerUnreachable(str(exc) or repr(exc)) from exc
        return self.connection

    def _means_broker_away(self, exc: BaseException) -> bool:
        connection = self.connection
        cause = exc.__cause__ if isinstance(exc, OperationalError) and exc.__cause__ else exc
        if isinstance(cause, connection.channel_errors):
            # The broker is there, and refuses: a queue declared otherwise, for example.
            return isinstance(cause, connection.connection_errors)
        return isinstance(exc, (OperationalError, OSError, *connection.connection_errors))

    def _broker_is_away(self, exc: BrokerUnreachable) -> float:
        """Tell it once; return the seconds until the next attempt."""
        if self._away_since is None:
            self._away_since = time.monotonic()
            self._retry_delay = FIRST_RETRY
            logger.error(
                "beat: cannot reach the broker %s: %s. Due tasks are sent when it is back.",
                self.connection.as_uri(),
                exc,
            )
        self._disconnect()
        delay, self._retry_delay = self._retry_delay, min(self._retry_delay * 2, LONGEST_RETRY)
        return delay

    def _broker_is_there(self) -> None:
        if self._away_since is not None:
            away = time.monotonic() - self._away_since
            self._away_since = None
            logger.info("beat: the broker is back after %s.", humanize_seconds(round(away, 1)))

    def _disconnect(self) -> None:
        self.__dict__.pop("producer", None)
        connection = self.__dict__.pop("connection", None)
        if connection is not None:
            try:
                connection.release()
            except (OSError, *connection.connection_errors) as exc:
                logger.debug("beat: closing the connection failed: %r", exc)
