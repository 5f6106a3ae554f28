"""Beat's mailbox: answers ``inspect ping``, so that beat can be watched as workers are.

A thread of `taskq.beat.service.Service`, with a connection of its own.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from kombu.common import ignore_errors
from kombu.utils.encoding import safe_str

from taskq.utils.collections import AttributeDict
from taskq.utils.log import get_logger
from taskq.utils.nodenames import default_nodename, host_format

__all__ = ("NODENAME_DEFAULT", "BeatPidbox", "beat_nodename")

logger = get_logger("celery.beat")

#: First half of the node name.
NODENAME_DEFAULT = "celerybeat"
#: Seconds that the thread waits for commands before it looks whether it is to stop.
POLL_INTERVAL = 1.0


def beat_nodename(hostname: str | None) -> str:
    """Return the node name that beat answers on; ``%h``, ``%n`` and ``%d`` are expanded."""
    return host_format(default_nodename(hostname, NODENAME_DEFAULT))


class BeatPidbox:
    """Answers pings, unless the scheduler has not ticked for too long.

    Parameters:
        service: whose ticks count.
    """

    #: Seconds between attempts to reach the broker.
    retry_interval = 5.0
    #: Seconds to wait for the thread's end.
    join_timeout = 3.0
    #: However short the scheduler sleeps, it counts as alive for so many seconds.
    min_tick_age = 60.0

    def __init__(self, service: Any) -> None:
        self.service = service
        self.app = service.app
        self.hostname = beat_nodename(service.hostname)
        self.state = AttributeDict(app=self.app, service=service)
        self.node = self.app.control.mailbox.Node(
            safe_str(self.hostname), handlers={"ping": self._ping}, state=self.state
        )
        self.thread: threading.Thread | None = None
        #: Whether a broker that is away has not been told about.
        self.first_connection_attempt = True
        self._shutdown = threading.Event()

    # -- life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to answer, in a thread."""
        self.thread = threading.Thread(target=self._loop, name="beat-pidbox", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._shutdown.set()
        if self.thread is not None:
            self.thread.join(self.join_timeout)

    def _loop(self) -> None:
        while not self._shutdown.is_set():
            try:
                with self.app.connection_for_read() as connection:
                    connection.connect()
                    if not self.fanout_support(connection):
                        logger.warning(
                            "beat pidbox: %s has no broadcasts, pings are not answered.",
                            connection.as_uri(),
                        )
                        return
                    self._consume_from(connection)
            except Exception as exc:
                # Whatever it is, beat goes on, and answers when it can.
                if self._shutdown.is_set():
                    return
                self._error_handler(exc, self.retry_interval)
                self._shutdown.wait(self.retry_interval)

    def fanout_support(self, connection: Any = None) -> bool:
        """Return whether the broker can send a message to everybody."""
        transport = (connection or self.app.connection_for_read()).transport
        return bool(
            transport.implements.exchange_type and "fanout" in (transport.implements.exchange_type)
        )

    def _consume_from(self, connection: Any) -> None:
        self.node.channel = connection.default_channel
        consumer = self.node.listen(callback=self.on_message)
        logger.info("beat pidbox: Connected to %s.", connection.as_uri())
        self.first_connection_attempt = True
        try:
            while not self._shutdown.is_set():
                try:
                    connection.drain_events(timeout=POLL_INTERVAL)
                except TimeoutError:
                    connection.heartbeat_check()
        finally:
            ignore_errors(connection, consumer.cancel)

    def _error_handler(self, exc: BaseException, interval: float) -> None:
        log = logger.error if self.first_connection_attempt else logger.debug
        self.first_connection_attempt = False
        log("beat pidbox: cannot listen: %r. Trying again every %s seconds.", exc, interval)

    # -- answering ----------------------------------------------------------------------

    def on_message(self, body: Any, message: Any) -> None:
        """Answer a ping. Other commands are for workers."""
        if not isinstance(body, dict) or body.get("method") not in self.node.handlers:
            return
        if self.is_stale():
            logger.error(
                "beat pidbox: no tick for %.0f seconds, this ping is not answered.", self.tick_age()
            )
            return
        self.node.handle_message(body, message)

    def _ping(self, state: Any, **_kwargs: Any) -> dict[str, str]:
        return {"ok": "pong"}

    def tick_age(self) -> float:
        """Return the seconds since the scheduler ticked last, 0 before it does."""
        last: float | None = self.service._last_tick
        return 0.0 if last is None else time.monotonic() - last

    def is_stale(self) -> bool:
        """Return whether the scheduler hangs."""
        return self.tick_age() > self.max_tick_age

    @property
    def max_tick_age(self) -> float:
        """Seconds without a tick after which the scheduler is taken to hang.

        ``beat_remote_control_max_tick_age``, else twice its longest sleep.
        """
        configured: float | None = self.app.conf.beat_remote_control_max_tick_age
        if configured:
            return configured
        longest = (
            self.service.effective_max_interval
            or self.service.max_interval
            or self.service.scheduler_max_interval
        )
        return float(max(self.min_tick_age, 2 * longest))
