"""Events as the app sees them: ``app.events`` makes dispatchers, receivers and states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any


class Events:
    """App API for events."""

    receiver_cls = "taskq.events.receiver:EventReceiver"
    dispatcher_cls = "taskq.events.dispatcher:EventDispatcher"
    state_cls = "taskq.events.state:State"

    def __init__(self, app: Any = None) -> None:
        self.app = app

    @cached_property
    def Receiver(self) -> Any:  # noqa: N802 - the public name
        """The receiver class, bound to this app."""
        return self.app.subclass_with_self(self.receiver_cls, reverse="events.Receiver")

    @cached_property
    def Dispatcher(self) -> Any:  # noqa: N802 - the public name
        """The dispatcher class, bound to this app."""
        return self.app.subclass_with_self(self.dispatcher_cls, reverse="events.Dispatcher")

    @cached_property
    def State(self) -> Any:  # noqa: N802 - the public name
        """The cluster state class, bound to this app."""
        return self.app.subclass_with_self(self.state_cls, reverse="events.State")

    @contextmanager
    def default_dispatcher(
        self,
        hostname: str | None = None,
        enabled: bool = True,
        buffer_while_offline: bool = False,
    ) -> Iterator[Any]:
        """Return a context of a dispatcher on a pooled connection."""
        with (
            self.app.amqp.producer_pool.acquire(block=True) as producer,
            self.Dispatcher(
                producer.connection, hostname, enabled, producer.channel, buffer_while_offline
            ) as dispatcher,
        ):
            yield dispatcher
