"""Many messages for RabbitMQ in one go: written together, and confirmed before anybody goes on.

A broker throws away what it has not read yet of a connection that breaks. Of single messages that
is known (`confirm_publish`); of a group of thousands nobody could say how many are there.
"""

from __future__ import annotations

import itertools
from typing import Any, TypeVar

from amqp import RecoverableConnectionError, spec
from amqp.exceptions import ConnectionError as BrokenConnection
from amqp.exceptions import MessageNacked

__all__ = ("ConfirmedBatches", "take_settled")

#: Seconds without a word of the broker after which the connection counts as broken.
PATIENCE = 30.0
#: Messages after which what the broker says is read; it blocks when nobody does.
LISTEN_EVERY = 200

#: A message as ``Channel.prepare_message`` returns it, its exchange and its routing key.
Prepared = tuple[Any, str, str]
T = TypeVar("T")


def take_settled(unconfirmed: dict[int, T], tag: int, *, multiple: bool) -> list[T]:
    """Remove and return what the broker speaks of in a confirmation or a refusal.

    - unconfirmed: by number of the message on its channel, in that order.
    - tag, multiple: of the broker's word: about one message, or about all up to it.
    """
    if not multiple:
        return [unconfirmed.pop(tag)] if tag in unconfirmed else []
    numbers = itertools.takewhile(lambda number: number <= tag, list(unconfirmed))
    return [unconfirmed.pop(number) for number in numbers]


class ConfirmedBatches:
    """Publishes on a channel of its own, of one connection.

    - connection: py-amqp's.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._channel: Any = None
        self._sent = 0
        #: By number of the message on the channel.
        self._unconfirmed: dict[int, Prepared] = {}
        self._refused: list[Prepared] = []

    def publish(self, messages: list[Prepared]) -> None:
        """Publish messages; return when the broker has stored all of them.

        Those that it has stored are removed from the list, also if this raises: MessageNacked when
        the broker refuses some, RecoverableConnectionError when it does not answer.
        """
        if self._channel is None or not self._channel.is_open:
            self._open()
        self._unconfirmed.clear()
        self._refused.clear()
        waiting = list(messages)
        written = 0
        try:
            with self._connection.gathering_writes():
                for written, prepared in enumerate(waiting, 1):
                    self._write(prepared)
                    if written % LISTEN_EVERY == 0:
                        self._listen(0)
            while self._unconfirmed:
                self._listen(PATIENCE)
        except BaseException as exc:
            # Confirmations that are still to come are of nobody's interest; numbers are off when a
            # message could not be encoded, and a channel with an error was opened anew by py-amqp.
            channel, self._channel = self._channel, None
            if isinstance(exc, Exception) and not isinstance(exc, (OSError, BrokenConnection)):
                channel.close()
            raise
        finally:
            messages[:] = [*self._refused, *self._unconfirmed.values(), *waiting[written:]]
        if self._refused:
            raise MessageNacked(f"the broker refused {len(self._refused)} messages")

    def _open(self) -> None:
        channel = self._connection.channel()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.confirm_select()
        self._channel, self._sent = channel, 0

    def _write(self, prepared: Prepared) -> None:
        message, exchange, routing_key = prepared
        self._sent += 1
        self._unconfirmed[self._sent] = prepared
        self._channel.send_method(
            spec.Basic.Publish, "Bssbb", (0, exchange, routing_key, False, False), message
        )

    def _listen(self, timeout: float) -> None:
        """Handle what the broker says, waiting for it so many seconds."""
        try:
            self._connection.drain_events(timeout=timeout)
        except TimeoutError:
            if timeout:
                raise RecoverableConnectionError(
                    f"the broker has not confirmed {len(self._unconfirmed)} messages"
                    f" in {timeout:.0f} s"
                ) from None

    def _on_ack(self, tag: int, multiple: bool) -> None:
        take_settled(self._unconfirmed, tag, multiple=multiple)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        self._refused += take_settled(self._unconfirmed, tag, multiple=multiple)
