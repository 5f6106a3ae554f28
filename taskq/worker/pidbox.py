"""The worker's mailbox: receives remote control commands."""

from __future__ import annotations

from typing import Any

from kombu.common import ignore_errors
from kombu.utils.encoding import safe_str

from taskq.utils.collections import AttributeDict
from taskq.utils.log import get_logger
from taskq.worker import control

__all__ = ("Pidbox",)

logger = get_logger("celery.worker.pidbox")


class Pidbox:
    """Consumes commands on the worker's connection and answers them in the loop."""

    consumer: Any = None

    def __init__(self, c: Any) -> None:
        self.c = c
        self.hostname = c.hostname
        self.node = c.app.control.mailbox.Node(
            safe_str(c.hostname),
            handlers=control.Panel.data,
            state=AttributeDict(
                app=c.app,
                hostname=c.hostname,
                consumer=c,
                tset=set,
            ),
        )
        self._forward_clock = c.app.clock.forward

    def on_message(self, body: Any, message: Any) -> None:
        """Run a command. Whatever is wrong with it is logged, and the worker goes on."""
        # Only the order of control messages among the worker's events matters.
        self._forward_clock()
        try:
            self.node.handle_message(body, message)
        except KeyError as exc:
            logger.error("No such control command: %s", exc)
        except Exception as exc:
            logger.error("Control command error: %r", exc, exc_info=True)
            self.reset()

    def start(self, c: Any) -> None:
        """Begin to listen."""
        self.node.channel = c.connection.channel()
        self.consumer = self.node.listen(callback=self.on_message)
        self.consumer.on_decode_error = self.on_decode_error

    def on_decode_error(self, message: Any, exc: BaseException) -> None:
        """A command can't be decoded or may not be."""
        logger.error("Control message can't be decoded: %r", exc)

    def on_stop(self) -> None:
        """About to stop."""

    def stop(self, c: Any) -> None:
        """Stop listening."""
        self.on_stop()
        self._close_channel(c)
        self.consumer = None

    def reset(self) -> None:
        """Listen on a new channel."""
        self.stop(self.c)
        self.start(self.c)

    def _close_channel(self, c: Any) -> None:
        if self.node and self.node.channel:
            ignore_errors(c, self.node.channel.close)

    def shutdown(self, c: Any) -> None:
        """Stop for good."""
        self.on_stop()
        if self.consumer:
            logger.debug("Canceling broadcast consumer...")
            ignore_errors(c, self.consumer.cancel)
        self.stop(self.c)
