"""How a consumer gets its connections: tried again as the ``broker_connection_*`` settings say."""

from __future__ import annotations

import time
from typing import Any

from kombu.exceptions import OperationalError

from taskq.app.unreachable import noting_refusals
from taskq.exceptions import WorkerShutdown
from taskq.platforms import EX_FAILURE
from taskq.utils.log import get_logger
from taskq.utils.time import humanize_seconds
from taskq.worker import state

logger = get_logger("celery.worker.consumer")

CONNECTION_ERROR = "consumer: Cannot connect to %s: %s.\n%s\n"
CONNECTION_RETRY_STEP = "Trying again {when}... ({retries}/{max_retries})"
CONNECTION_GIVEN_UP = (
    "consumer: No connection to %s: %s.\nThe worker ends and does not try again: %s."
)
CONNECTION_FAILOVER = "Will retry using next failover."
#: Seconds between two attempts at most, where a connection comes about and is of no use.
LONGEST_PAUSE = 8.0
#: Seconds between two looks whether the worker was told to stop meanwhile.
SHUTDOWN_CHECK = 0.1
NO_BROKER_HINT = (
    "No broker is configured, so RabbitMQ on this machine was tried. To run without any server "
    "set broker_url = 'sqlite:///taskq.db' (and result_backend to the same)."
)


class Connecting:
    """The part of a consumer that connects."""

    app: Any
    hub: Any
    amqheartbeat: float | None
    first_connection_attempt = True
    broker_connection_retry_attempt = 0
    #: How often the connection broke, or none came about, since consuming last began.
    failed_attempts = 0

    def connect(self) -> Any:
        """Return a connection that is established, and known to the event loop."""
        conn = self.connection_for_read(heartbeat=self.amqheartbeat)
        if self.hub is not None and conn.transport.implements.asynchronous:
            conn.transport.register_with_event_loop(conn.connection, self.hub)
        return conn

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """Return an established connection to consume from."""
        return self.ensure_connected(self.app.connection_for_read(heartbeat=heartbeat))

    def connection_for_write(self, url: Any = None, heartbeat: float | None = None) -> Any:
        """Return an established connection to publish with."""
        return self.ensure_connected(self.app.connection_for_write(url=url, heartbeat=heartbeat))

    def ensure_connected(self, conn: Any) -> Any:
        """Establish the connection, trying again as the settings say. Returns it."""
        conf = self.app.conf
        max_retries = conf.broker_connection_max_retries
        retry = conf[self._retry_setting]
        self.broker_connection_retry_attempt = 0

        def on_error(exc: BaseException, interval: float) -> None:
            self.broker_connection_retry_attempt += 1
            if getattr(conn, "alt", None) and interval == 0:
                next_step = CONNECTION_FAILOVER
            else:
                next_step = CONNECTION_RETRY_STEP.format(
                    when=humanize_seconds(interval, "in", " "),
                    retries=self.broker_connection_retry_attempt,
                    max_retries=max_retries,
                )
            if not conf.broker_read_url and self.broker_connection_retry_attempt == 1:
                next_step = f"{next_step}\n{NO_BROKER_HINT}"
            logger.error(CONNECTION_ERROR, conn.as_uri(), exc, next_step)

        if not retry:
            with noting_refusals(conn):
                conn.connect()
            self.first_connection_attempt = False
            return conn
        try:
            with noting_refusals(conn):
                conn.ensure_connection(on_error, max_retries, callback=state.maybe_shutdown)
        except OperationalError as exc:
            if not max_retries or self.broker_connection_retry_attempt < max_retries:
                raise  # of another kind than what is tried again there
            reason = f"it was tried as often as broker_connection_max_retries ({max_retries}) says"
            logger.critical(CONNECTION_GIVEN_UP, conn.as_uri(), exc, reason)
            raise WorkerShutdown(EX_FAILURE) from exc
        self.first_connection_attempt = False
        return conn

    @property
    def _retry_setting(self) -> str:
        """Name of the setting that says whether connecting is tried again."""
        on_startup = "broker_connection_retry_on_startup"
        if self.first_connection_attempt and self.app.conf[on_startup] is not None:
            return on_startup
        return "broker_connection_retry"

    def stop_unless_retrying(self, exc: BaseException) -> None:
        """Have the worker end with status 1 where settings say that it is not to connect again."""
        setting = self._retry_setting
        if not self.app.conf[setting]:
            url = self.app.connection_for_read().as_uri()
            logger.critical(CONNECTION_GIVEN_UP, url, exc, f"{setting} is off")
            raise WorkerShutdown(EX_FAILURE)

    def pause_after_failure(self) -> None:
        """Wait before the next attempt: not at all after the first failure, then ever longer.

        A server that is not there is waited for by `ensure_connected`; this is about one that is,
        and where nothing can be done all the same.
        """
        if self.failed_attempts < 2:
            return
        until = time.monotonic() + min(2 ** (self.failed_attempts - 2), LONGEST_PAUSE)
        while time.monotonic() < until:
            state.maybe_shutdown()
            time.sleep(SHUTDOWN_CHECK)
