"""The transport: drives the channels of a connection, in kombu's event loop or without one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kombu.log import get_logger
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.eventio import ERR, READ, poll
from kombu.utils.url import sanitize_url
from redis import exceptions

from taskq.transport.redis import errors
from taskq.transport.redis.channel import Channel
from taskq.transport.redis.claim import CONNECTION_ERRORS, UNLIMITED_BATCH, Claimer
from taskq.transport.redis.fanout import Subscription

logger = get_logger(__name__)

#: Seconds between two rounds of housekeeping: PUB/SUB health, expiring bindings, credentials.
HOUSEKEEPING = 5.0
#: Longest wait of `drain_events`, so that housekeeping gets its turn.
LONGEST_WAIT = 1.0
#: Fewest seconds between two logs of a claim that the server refuses.
REFUSAL_LOG_INTERVAL = 60.0

Source = Claimer | Subscription


class Channels(set[Any]):
    """The open channels, as what kombu's Redis channel registers with (its `connection.cycle`)."""

    #: kombu puts off cancelling while it reads; we don't need that.
    _in_protected_read = False

    def _on_connection_disconnect(self, connection: Any) -> None:
        for channel in self:
            if channel.subscription is not None:
                channel.subscription.disconnected(connection)

    def close(self) -> None:
        """Forget all channels."""
        self.clear()


class Transport(virtual.Transport):
    """Redis as a broker, on kombu's key layout: ``redis:// rediss:// redis+socket:// unix://``."""

    Channel = Channel

    polling_interval = None
    #: kombu's channel reads it; nothing is popped by blocking.
    brpop_timeout = 1
    default_port = kombu_redis.DEFAULT_PORT
    driver_type = "redis"
    driver_name = "redis"

    implements = virtual.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
    )
    supports_batch_publish = True
    #: Channels have a `loop_wire`, and publishers make commands for it.
    publishes_on_loops = True
    #: Whether the answers to messages for fanout exchanges are waited for with the next message
    #: only: nobody is woken for them. What the connection loses meanwhile is published again.
    answers_later = False

    # Not kombu's: it counts any KeyError as a lost connection.
    connection_errors = (
        *virtual.Transport.connection_errors,
        *CONNECTION_ERRORS,
        exceptions.AuthenticationError,
        exceptions.BusyLoadingError,
    )
    channel_errors = (
        *virtual.Transport.channel_errors,
        exceptions.DataError,
        exceptions.InvalidResponse,
        exceptions.ResponseError,
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.cycle = Channels()
        #: The event loop, None without one, and the thread it runs in.
        self.hub: Any = None
        self.hub_thread: int | None = None
        #: A connection failed and the error was passed on: what is held is not given back at
        #: close, because the next connection goes on with it.
        self.broken = False
        #: Registered with the hub: source -> its socket and descriptor.
        self._registered: dict[Source, tuple[Any, int]] = {}
        self._next_housekeeping = 0.0
        self._refusal_logged = float("-inf")
        self._timer_set = False
        self._url: str | None = None
        #: The server was looked at.
        self.checked = False

    @property
    def url(self) -> str:
        """URL of the server, password masked."""
        if self._url is None:
            url: str = self.client.as_uri()
            # kombu writes a mask where there is no password to hide.
            self._url = url if self.client.password else url.replace("://:**@", "://", 1)
        return self._url

    def driver_version(self) -> str:
        """Return the version of redis-py."""
        version: str = kombu_redis.redis.__version__
        return version

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return a URL with its password masked."""
        return uri if include_password else str(sanitize_url(uri, mask))

    # -- without an event loop ----------------------------------------------------

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait until one message was delivered.

        - timeout: seconds; None waits for ever.

        Raises TimeoutError (that is ``socket.timeout``) when none came, and connection errors.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._deliver_one():
            with self._noticing_breaks():
                sources = self._tend()
                left = 0.0 if self._undelivered() else self._wait_time()
                if deadline is not None:
                    left = max(0.0, min(left, deadline - time.monotonic()))
                if self._read(sources, left):
                    return
            if deadline is not None and time.monotonic() >= deadline:
                if self._deliver_one():
                    return
                raise TimeoutError("timed out")

    def _deliver_one(self) -> bool:
        return any(channel.claimer.deliver(limit=1) for channel in self._consuming())

    def _undelivered(self) -> bool:
        return any(channel.claimer.undelivered for channel in self._consuming())

    def _consuming(self) -> list[Any]:
        return [channel for channel in self.cycle if channel.consumes]

    def _read(self, sources: list[Source], timeout: float) -> bool:
        """Wait for any source and read it; return whether a message was delivered."""
        by_fileno = {source.sock.fileno(): source for source in sources}
        if not by_fileno:
            time.sleep(timeout)
            return False
        poller = poll()
        try:
            for fileno in by_fileno:
                poller.register(fileno, READ | ERR)
            events = poller.poll(timeout) or []
        finally:
            poller.close()
        delivered = [by_fileno[fileno].on_readable() for fileno, _ in events]  # all of them
        return any(delivered)

    def _wait_time(self) -> float:
        waits: list[float] = [channel.claimer.wakeup.timeout for channel in self._consuming()]
        return min([LONGEST_WAIT, *waits])

    # -- in an event loop -----------------------------------------------------------

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have kombu's hub drive this transport from now on."""
        self.hub = loop
        self.hub_thread = threading.get_ident()
        loop.on_tick.add(self.on_tick)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Undo `register_with_event_loop`."""
        loop.on_tick.discard(self.on_tick)
        for source in list(self._registered):
            self._unregister(source)
        self.hub = None

    def on_tick(self) -> None:
        """Send what there is to send; the hub calls it in every turn. Raises connection errors."""
        hub = self.hub
        if hub is None:
            return
        try:
            sources = self._tend()
        except CONNECTION_ERRORS:
            self.broken = True
            raise
        for source in sources:
            if source.sock is None:
                continue  # found dead meanwhile; the next turn connects it again
            known = self._registered.get(source)
            # Somebody may have reset the hub meanwhile.
            if known is None or known[0] is not source.sock or known[1] not in hub.readers:
                self._register(source)
            if source.undelivered:
                source.deliver()
        self._set_timer()

    def _register(self, source: Source) -> None:
        self._unregister(source)
        sock = source.sock
        source.on_close = partial(self._unregister, source)
        self._registered[source] = (sock, sock.fileno())
        self.hub.add_reader(sock.fileno(), self._on_readable, source)

    def _unregister(self, source: Source) -> None:
        """Take a source off the hub; its socket may be closed already."""
        known = self._registered.pop(source, None)
        if known is not None and self.hub is not None:
            self.hub.remove(known[1])

    def _on_readable(self, source: Source) -> None:
        try:
            source.on_readable()
        except CONNECTION_ERRORS:
            self.broken = True
            raise
        except exceptions.ResponseError as exc:
            self._log_refusal(exc)
        if source.undelivered:
            source.deliver()

    def _set_timer(self) -> None:
        """See to it that the hub takes a turn when a claimer wants to look for messages."""
        if self._timer_set:
            return
        waits = [
            channel.claimer.wakeup.timeout
            for channel in self._consuming()
            if channel.claimer.wakeup.impatient
        ]
        if waits:
            self._timer_set = True
            self.hub.call_later(min(waits), self._on_timer)

    def _on_timer(self) -> None:
        """Take note that the timer is gone; the turn that follows does the work."""
        self._timer_set = False

    @contextmanager
    def _noticing_breaks(self) -> Iterator[None]:
        try:
            yield
        except CONNECTION_ERRORS:
            self.broken = True
            raise

    # -- both -------------------------------------------------------------------------

    def _tend(self) -> list[Source]:
        """Let all channels send what they have to; return what to read from."""
        sources: list[Source] = []
        for channel in list(self.cycle):
            if channel.consumes:
                self._tick(channel.claimer)
                if channel.claimer.sock is not None:
                    sources.append(channel.claimer)
            if channel.active_fanout_queues:
                channel.subscription.tick()
                sources.append(channel.subscription)
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING
            self._keep_house()
        return sources

    def _tick(self, claimer: Claimer) -> None:
        try:
            claimer.tick()
        except exceptions.ResponseError as exc:
            if self.hub is None:
                raise
            self._log_refusal(exc)

    def _keep_house(self) -> None:
        for channel in list(self.cycle):
            if channel.subscription is not None:
                channel.subscription.check_health()
            for name in ("maybe_refresh_binding_expiry", "maybe_reauth"):
                method = getattr(channel, name, None)  # not in every version of kombu
                if method is not None:
                    try:
                        method()
                    except exceptions.ResponseError as exc:
                        # Such as one that has no memory left; it is tried again.
                        self._log_refusal(errors.explain(exc, self.url))

    def _log_refusal(self, error: Exception) -> None:
        """Log that the server does not let us; it is tried again after a while."""
        now = time.monotonic()
        if now - self._refusal_logged >= REFUSAL_LOG_INTERVAL:
            self._refusal_logged = now
            logger.error("The server refuses what is needed to get messages: %s", error)

    def forget_channel(self, channel: Any) -> None:
        """Stop driving a channel that is being closed."""
        self.cycle.discard(channel)
        for source in (channel.__dict__.get("claimer"), channel.subscription):
            if source is not None:
                self._unregister(source)

    def close_connection(self, connection: Any) -> None:
        """Close all channels."""
        if self.hub is not None:
            self.unregister_from_event_loop(connection, self.hub)
        super().close_connection(connection)

    @property
    def unlimited_batch(self) -> int:
        """Messages to ask for at once when the prefetch count is unlimited.

        Without an event loop it is one, because the caller may stop after any message.
        """
        return 1 if self.hub is None else UNLIMITED_BATCH
