"""The step in which a starting worker asks the others for what it missed."""

from __future__ import annotations

from typing import Any

from kombu.exceptions import InconsistencyError

from taskq import bootsteps
from taskq.utils.log import get_logger
from taskq.worker.consumer.events import Events

__all__ = ("Mingle",)

logger = get_logger("celery.worker.consumer.mingle")


class Mingle(bootsteps.StartStopStep):
    """Synchronises revoked ids and the logical clock with the workers already there.

    - without_mingle: don't.
    """

    label = "Mingle"
    requires = (Events,)
    #: Transports whose broadcasts reach all workers.
    compatible_transports = {"amqp", "redis", "gcpubsub", "sqlite"}

    def __init__(self, c: Any, without_mingle: bool = False, **kwargs: Any) -> None:
        self.enabled = not without_mingle and self.compatible_transport(c.app)
        super().__init__(c, without_mingle=without_mingle, **kwargs)

    def compatible_transport(self, app: Any) -> bool:
        """Return whether the broker can do it."""
        with app.connection_for_read() as conn:
            return conn.transport.driver_type in self.compatible_transports

    def start(self, c: Any) -> None:
        """Ask, and take over what is answered."""
        self.sync(c)

    def sync(self, c: Any) -> None:
        """Ask the other workers, waiting a second for their answers at most."""
        logger.info("mingle: searching for neighbors")
        neighbours = self.count_neighbours(c)
        replies = self.send_hello(c, limit=neighbours) if neighbours != 0 else {}
        if replies:
            logger.info("mingle: sync with %s nodes", len([v for v in replies.values() if v]))
            for nodename, reply in replies.items():
                self.on_node_reply(c, nodename, reply)
            logger.info("mingle: sync complete")
        else:
            logger.info("mingle: all alone")

    def count_neighbours(self, c: Any) -> int | None:
        """Return how many other workers have a mailbox, None where the broker doesn't tell.

        Some may be left by workers that died: there are never more answers than that.
        """
        get_table = getattr(c.connection.default_channel, "get_table", None)
        if get_table is None:
            return None
        mailbox = c.app.control.mailbox
        try:
            bindings = get_table(mailbox.exchange.name)
        except InconsistencyError:
            return 0  # kombu's word for an exchange that nobody has bound anything to
        own = mailbox.get_queue(c.hostname).name
        others = [queue for _, _, queue in bindings if queue != own]
        return len(others)

    def send_hello(self, c: Any, limit: int | None = None) -> dict[str, Any]:
        """Return the answers of the other workers.

        - limit: how many there are at most.
        """
        inspect = c.app.control.inspect(timeout=1.0, limit=limit, connection=c.connection)
        replies = inspect.hello(c.hostname, list(c.controller.state.revoked)) or {}
        replies.pop(c.hostname, None)  # deleted: our own answer
        return replies

    def on_node_reply(self, c: Any, nodename: str, reply: Any) -> None:
        """Take over what one worker answered."""
        logger.debug("mingle: processing reply from %s", nodename)
        try:
            self.sync_with_node(c, **(reply or {}))
        except Exception as exc:
            logger.error("mingle: sync with %s failed: %r", nodename, exc, exc_info=True)

    def sync_with_node(self, c: Any, clock: Any = None, revoked: Any = None, **kwargs: Any) -> None:
        """Adjust the clock and add the revoked ids."""
        self.on_clock_event(c, clock)
        self.on_revoked_received(c, revoked)

    def on_clock_event(self, c: Any, clock: Any) -> None:
        """Adjust the clock."""
        if clock:
            c.app.clock.adjust(clock)
        else:
            c.app.clock.forward()

    def on_revoked_received(self, c: Any, revoked: Any) -> None:
        """Add revoked ids."""
        if revoked:
            # Older workers send ids with the times of their own clocks, which mean nothing here.
            c.controller.state.revoked.update(list(revoked))
