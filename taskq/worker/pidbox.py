"""The worker's mailbox: receives remote control commands."""

from __future__ import annotations

from typing import Any

from kombu.common import ignore_errors
from kombu.utils.encoding import safe_str

from taskq.utils.collections import AttributeDict
from taskq.utils.log import get_logger
from taskq.worker.control.allowed import allowed_commands

__all__ = ("Pidbox",)

logger = get_logger("celery.worker.pidbox")

#: Seconds between two attempts to get a mailbox that the broker refuses.
MAILBOX_RETRY = 2.0


class Pidbox:
    """Consumes commands on the worker's connection and answers them in the loop."""

    consumer: Any = None
    _refused = False

    def __init__(self, c: Any) -> None:
        self.c = c
        self.hostname = c.hostname
        self.node = c.app.control.mailbox.Node(
            safe_str(c.hostname),
            handlers=allowed_commands(c.app.conf.worker_control_commands_allowed),
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
        try:
            self.consumer = self.node.listen(callback=self.on_message)
        except c.channel_errors as exc:
            self._start_later(c, exc)
            return
        self.consumer.on_decode_error = self.on_decode_error
        if self._refused:
            self._refused = False
            logger.info("The mailbox of %s is ours again", self.hostname)

    def _start_later(self, c: Any, exc: BaseException) -> None:
        """Try again in a while: the broker keeps the mailbox for somebody else.

        That is our own lost connection, which the broker has not noticed yet, or another worker
        of the same name. Tasks are consumed meanwhile.
        """
        if not self._refused:
            self._refused = True
            logger.warning(
                "Remote control of %s is off for now: %s. If this goes on, another worker has "
                "the same name: give each a name of its own with -n.",
                self.hostname,
                exc,
            )
        connection = c.connection

        def again() -> None:
            if c.connection is connection:
                self.start(c)

        c.timer.call_after(MAILBOX_RETRY, again)

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
