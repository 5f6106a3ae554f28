"""The kombu transport for ``sqlite://`` URLs: one database connection, its channels, its waiting.

Kombu's `Connection` makes one per connection. A worker registers it with its event loop;
everybody else calls `drain_events`.
"""

from __future__ import annotations

import sqlite3
import time
from itertools import count
from typing import Any

from kombu.exceptions import ChannelError, ConnectionError
from kombu.transport import base

from taskq.transport.sqlite import forking
from taskq.transport.sqlite.bell import LONGEST_WAIT, Listener, messages_bell
from taskq.transport.sqlite.channel import Channel as SQLiteChannel
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.errors import DatabaseError, DatabaseUnavailable
from taskq.transport.sqlite.options import Options, parse_url
from taskq.transport.sqlite.publishing import Publisher
from taskq.transport.sqlite.routing import EXCHANGE_TYPES, Routing
from taskq.transport.sqlite.wakeup import Wakeup

__all__ = ("Transport",)


class Management(base.Management):
    """What kombu's `Connection.get_manager` gives: the list of bindings."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.channel = transport.client.channel()

    def get_bindings(self) -> list[dict[str, str]]:
        """Return source, destination and routing key of every binding."""
        return [
            {"destination": queue, "source": exchange, "routing_key": key}
            for queue, exchange, key in self.channel.list_bindings()
        ]

    def close(self) -> None:
        """Close the channel that was used."""
        self.channel.close()


class Transport(base.Transport):
    """Messages in an SQLite database file.

    Parameters:

    - `client`: the kombu connection; its URL names the file, its ``transport_options`` may hold
      the options of `taskq.transport.sqlite.options.Options` and ``deadletter_queue``.
    """

    Channel = SQLiteChannel
    Management = Management

    can_parse_url = True
    driver_type = "sqlite"
    driver_name = "sqlite3"

    connection_errors = (DatabaseError, ConnectionError)
    channel_errors = (ChannelError,)
    #: Errors after which a new connection may help: all but a damaged file.
    recoverable_connection_errors = (DatabaseUnavailable, ConnectionError)
    recoverable_channel_errors = ()

    implements = base.Transport.implements.extend(
        asynchronous=True, exchange_type=EXCHANGE_TYPES, heartbeats=False
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        self.options = _options(client)
        self.database = Database(self.options)
        self.routing = Routing(self.database)
        self.publisher = Publisher(
            self.database, self.routing, client.transport_options.get("deadletter_queue")
        )
        self.channels: list[SQLiteChannel] = []
        self.listener = Listener(self.database, messages_bell)
        self._channel_ids = count(1)
        self._loop: Any = None
        self._reader: int | None = None
        self._wakeup: Wakeup | None = None
        self._timers: list[Any] = []
        self._alarm: Any = None
        self._alarm_due = 0.0
        self._closed = False
        forking.register(self)

    # -- life ---------------------------------------------------------------

    def driver_version(self) -> str:
        """Return the version of the SQLite library."""
        return sqlite3.sqlite_version

    def establish_connection(self) -> Transport:
        """Open the database, creating it if need be.

        Raises:
            taskq.transport.sqlite.errors.DatabaseError: it cannot be used; says why.
        """
        self.database.connect()
        self._closed = False
        return self

    def verify_connection(self, connection: Any) -> bool:
        """Tell whether the connection was not closed."""
        return not self._closed

    def create_channel(self, connection: Any) -> SQLiteChannel:
        """Return a new channel."""
        channel = self.Channel(self)
        self.channels.append(channel)
        return channel

    def close_channel(self, channel: SQLiteChannel) -> None:
        """Forget a channel; it calls this when it is closed."""
        if channel in self.channels:
            self.channels.remove(channel)
        channel.connection = None

    def close_connection(self, connection: Any) -> None:
        """Close all channels, which returns what they hold, and the database."""
        self._closed = True
        self.unregister_from_event_loop(connection, self._loop)
        for channel in list(self.channels):
            channel.close()
        self.listener.close()
        self.database.close()

    def next_channel_id(self) -> int:
        """Return a number that no other channel of this connection has."""
        return next(self._channel_ids)

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """Return the URL as it is: it holds no password."""
        return uri

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """What kombu falls back to: nothing, the URL says it all."""
        return {}

    # -- without an event loop ----------------------------------------------

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver one message to its consumer.

        Parameters:
            connection: this transport.
            timeout: seconds to wait for one; None waits for ever.

        Raises:
            TimeoutError: (`socket.timeout` is the same class) there was none in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self.listener.start()
        while True:
            # What rings from here on is not missed: it ends the wait below.
            self.listener.rang()
            if self._deliver_one():
                return
            left = LONGEST_WAIT if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no message within {timeout} s")
            self.listener.wait(min(left, LONGEST_WAIT, self._time_to_next_due()))

    def _deliver_one(self) -> bool:
        for channel in list(self.channels):
            if channel.deliver_one():
                # Let the others go first the next time.
                if len(self.channels) > 1 and channel in self.channels:
                    self.channels.remove(channel)
                    self.channels.append(channel)
                return True
        return False

    def _time_to_next_due(self) -> float:
        due = self._next_due()
        return LONGEST_WAIT if due is None else max(0.0, due - time.time())

    def _next_due(self) -> float | None:
        """Return when the next delayed message is due that there is room for."""
        inboxes = [channel.qos for channel in self.channels]
        dues = [inbox.due for inbox in inboxes if inbox.due is not None and inbox.can_consume()]
        return min(dues, default=None)

    # -- in an event loop ---------------------------------------------------

    @property
    def in_event_loop(self) -> bool:
        """Whether an event loop drives this connection, so that writing can wait for a tick."""
        return self._loop is not None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have `loop`, a kombu hub, fetch and deliver from now on.

        Messages are delivered where the loop reads descriptors or runs its timers, never in its
        ``on_tick``: there it is about to wait, and whoever gets the messages may have had their
        turn. For the same reason a descriptor brings it back, and not its ``call_soon``.
        """
        self.unregister_from_event_loop(connection, self._loop)
        self._loop = loop
        self._wakeup = Wakeup()
        loop.add_reader(self._wakeup.fileno(), self._on_wakeup)
        self.listener.start()
        self._watch_bell()
        self._timers = [loop.call_repeatedly(LONGEST_WAIT, self._look_again)]
        loop.on_tick.add(self._on_tick)
        for channel in self.channels:
            channel.qos.dirty = True

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """Undo `register_with_event_loop`; pending acknowledgements are still written on close."""
        if self._loop is None:
            return
        self._loop.on_tick.discard(self._on_tick)
        for timer in [*self._timers, self._alarm]:
            if timer is not None:
                timer.cancel()
        if self._reader is not None:
            self._loop.remove_reader(self._reader)
        if self._wakeup is not None:
            self._loop.remove_reader(self._wakeup.fileno())
            self._wakeup.close()
        self._loop = self._reader = self._alarm = self._wakeup = None
        self._timers = []

    def schedule_tick(self) -> None:
        """Have the loop settle, fetch and deliver in its next round; any thread may call it."""
        wakeup = self._wakeup
        if wakeup is not None:
            wakeup.set()

    def before_fork(self) -> None:
        """Nothing to do: the loop goes on in the parent."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """Forget the loop without a word to it: its poller is shared with the parent's."""
        if self._wakeup is not None:
            self._wakeup.close()
        self._loop = self._reader = self._alarm = self._wakeup = None
        self._timers = []

    def _watch_bell(self) -> None:
        """Have the loop tell when the bell rings, by its descriptor or by looking again."""
        self._reader = self.listener.fileno()
        if self._reader is not None:
            self._loop.add_reader(self._reader, self._on_bell)
        else:
            self._poll_bell()

    def _poll_bell(self) -> None:
        if self._loop is not None and self._reader is None:
            self._on_bell()
            interval = self.listener.poll_interval() or LONGEST_WAIT
            self._timers[1:] = [self._loop.call_later(interval, self._poll_bell)]

    def _on_bell(self, *args: Any) -> None:
        if self.listener.rang():
            self._look_again()

    def _on_alarm(self) -> None:
        self._alarm = None
        self._look_again()

    def _look_again(self) -> None:
        for channel in self.channels:
            channel.qos.dirty = True
        self._tick()

    def _on_wakeup(self, *args: Any) -> None:
        if self._wakeup is not None:
            self._wakeup.clear()
        self._tick()

    def _on_tick(self) -> None:
        """The loop is about to wait: not if there is something to do."""
        if any(channel.has_work() for channel in self.channels):
            self.schedule_tick()

    def _tick(self) -> None:
        for channel in list(self.channels):
            channel.tick()
        self._set_alarm()

    def _set_alarm(self) -> None:
        """Make sure that the loop is awake when the next delayed message is due."""
        due = self._next_due()
        if self._loop is None or due is None:
            return
        if self._alarm is not None and self._alarm_due <= due:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_due = due
        delay = min(max(0.0, due - time.time()), LONGEST_WAIT)
        self._alarm = self._loop.call_later(delay, self._on_alarm)


def _options(client: Any) -> Options:
    """Read the URL and the transport options of a kombu connection."""
    url = client.hostname or ""
    if "://" not in url:
        # Kombu has taken the URL to pieces, as it does when it switches to an alternate one.
        url = f"sqlite:///{client.virtual_host or ''}"
    return parse_url(url, client.transport_options or {})
