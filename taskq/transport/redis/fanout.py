"""Receiving from fanout exchanges, which are PUB/SUB patterns: events and remote control.

Subscribing, parsing and delivery are kombu's; here is when they happen, and what if they fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis.claim import CONNECTION_ERRORS, RESUME_INTERVAL

logger = get_logger(__name__)

#: Unanswered health checks after which the connection counts as dead.
MISSED_CHECKS = 2


class Subscription:
    """The PUB/SUB connection of one channel.

    - channel: whose `active_fanout_queues` are subscribed to.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._resumed = float("-inf")
        #: Called when the connection is closed.
        self.on_close: Callable[[], None] | None = None

    #: Messages are delivered when they are read.
    undelivered = ()

    def deliver(self, limit: int | None = None) -> int:
        """Do nothing: there is never anything left to deliver."""
        return 0

    @property
    def sock(self) -> Any:
        """The socket to poll, None when not connected."""
        connection = self._connection
        return None if connection is None else connection._sock

    @property
    def _connection(self) -> Any:
        subclient = self._channel.__dict__.get("subclient")
        return None if subclient is None else subclient.connection

    def tick(self) -> None:
        """Be subscribed. Raises connection errors."""
        if self._channel._in_listen and self.sock is not None:
            return
        try:
            self._subscribe()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)

    def on_readable(self) -> bool:
        """Deliver what has come; return whether there was a message. Raises connection errors."""
        try:
            return bool(self._channel._receive())
        except Empty:
            return False
        except CONNECTION_ERRORS as exc:
            self._resume(exc)
            return False

    def check_health(self) -> None:
        """Send a PING now and then, and give up a connection that never answers."""
        subclient = self._channel.__dict__.get("subclient")
        if subclient is None or self.sock is None:
            return
        if getattr(subclient, "health_check_response_counter", 0) >= MISSED_CHECKS:
            subclient.health_check_response_counter = 0
            logger.warning("A PUB/SUB connection does not answer any more. Connecting again.")
            self._disconnect()
            return
        try:
            subclient.check_health()
        except CONNECTION_ERRORS as exc:
            self._resume(exc)

    def disconnected(self, connection: Any) -> None:
        """Take note that redis-py has closed a connection, if it is this one."""
        if connection is self._connection and self.on_close is not None:
            self.on_close()

    def _subscribe(self) -> None:
        subclient = self._channel.subclient
        if subclient.connection is None:
            subclient.connection = subclient.connection_pool.get_connection()
        if subclient.connection._sock is None:
            subclient.connection.connect()
        self._channel._subscribe()

    def _resume(self, error: Exception) -> None:
        """Subscribe again after the connection broke; raise if that fails or happens often.

        What was published meanwhile is missed, as with any subscriber that is away.
        """
        self._disconnect()
        now = time.monotonic()
        if now - self._resumed < RESUME_INTERVAL or isinstance(
            error, exceptions.AuthenticationError
        ):
            raise error
        self._resumed = now
        logger.warning("PUB/SUB: %s. Connecting again.", error)
        self._subscribe()

    def _disconnect(self) -> None:
        self._channel._in_listen = None
        connection = self._connection
        if connection is not None:
            connection.disconnect()
