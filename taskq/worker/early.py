"""Early acknowledgements that may have been lost with their connection.

AMQP does not answer an acknowledgement. One that was under way when the connection broke has its
message delivered again, though its task has started: the worker that sent it recognises it here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from taskq.utils.collections import LimitedSet

__all__ = ("EarlyAcks",)

#: Acknowledgements remembered at least, and when any number of messages may be held.
LEAST, UNLIMITED = 1000, 50_000
#: Seconds for which a message may still come back after the connection broke: a broker notices a
#: connection that went silent late.
EXPIRES = 10_800


class EarlyAcks:
    """What one worker has acknowledged before it ran, as far as the broker may not know of it.

    - prefetch: returns the number of messages that the broker lets this worker hold; 0 for any.

    The broker reads acknowledgements in the order in which they were sent, and has delivered no
    more than ``prefetch`` messages beyond those it has read. Those that are sent together, at most
    as many, may be sent in another order than they were asked for. So the last ``2 * prefetch``
    ones of a connection are all that it can have missed.
    """

    def __init__(self, prefetch: Callable[[], int]) -> None:
        self._prefetch = prefetch
        self._sent: deque[tuple[Any, ...]] = deque()
        self._doubtful = LimitedSet(maxlen=UNLIMITED, expires=EXPIRES)

    def remembering(self, message: Any, ack: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what ``ack`` does and remembers the message."""

        def remember_and_ack(*args: Any) -> Any:
            # First remembered: what fails quietly is started in spite of it.
            self._remember(_marks_of(message))
            try:
                return ack(*args)
            except BaseException:
                self._sent.pop()  # it is not started
                raise

        return remember_and_ack

    def _remember(self, marks: tuple[Any, ...]) -> None:
        sent = self._sent
        sent.append(marks)
        if len(sent) > LEAST:
            limit = max(LEAST, 2 * self._prefetch() or UNLIMITED)
            while len(sent) > limit:
                sent.popleft()

    def connection_lost(self) -> None:
        """The connection has ended: the last acknowledgements may not have arrived."""
        self._doubtful.update(map(repr, self._sent))
        self._sent.clear()

    def has_started(self, message: Any) -> bool:
        """Tell whether a redelivered message is one of those."""
        return len(self._doubtful) > 0 and repr(_marks_of(message)) in self._doubtful


def _marks_of(message: Any) -> tuple[Any, ...]:
    """Return what tells a message from others, also from a retry or replacement with its id."""
    header = (message.headers or {}).get
    info = message.delivery_info or {}
    return (
        header("id"),
        header("task"),
        header("retries"),
        header("replaced_task_nesting"),
        info.get("exchange"),
        info.get("routing_key"),
    )
