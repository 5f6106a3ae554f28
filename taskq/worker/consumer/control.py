"""The step that listens to remote control."""

from __future__ import annotations

from typing import Any

from taskq import bootsteps
from taskq.utils.log import get_logger
from taskq.worker import pidbox
from taskq.worker.consumer.tasks import Tasks

__all__ = ("Control",)

logger = get_logger("celery.worker.consumer.control")


class Control(bootsteps.StartStopStep):
    """Starts the mailbox."""

    requires = (Tasks,)

    def __init__(self, c: Any, **kwargs: Any) -> None:
        self.box = pidbox.Pidbox(c) if c.app.conf.worker_enable_remote_control else None
        self.name = "Control"
        super().__init__(c, **kwargs)

    def start(self, c: Any) -> None:
        """Begin to listen."""
        assert self.box is not None
        self.box.start(c)

    def stop(self, c: Any) -> None:
        """Stop listening."""
        assert self.box is not None
        self.box.stop(c)

    def shutdown(self, c: Any) -> None:
        """Stop for good."""
        assert self.box is not None
        self.box.shutdown(c)

    def include_if(self, c: Any) -> bool:
        """Only where remote control is on and the transport can broadcast."""
        return bool(
            c.app.conf.worker_enable_remote_control
            and c.app.connection_for_read().supports_exchange_type("fanout")
        )
