"""Receiving events for as long as a program runs, whatever becomes of the connection.

Used by the dumper, by cameras and by the terminal screen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.app.unreachable import is_refusal, noting_refusals

__all__ = ("capture_events",)


def capture_events(
    app: Any,
    handlers: dict[str, Callable[[Any], Any]],
    *,
    on_error: Callable[[BaseException, float], Any],
    on_lost: Callable[[], Any],
    on_receiver: Callable[[Any], Any] | None = None,
) -> None:
    """Call the handlers with events until the receiver is told to stop.

    - app: whose broker the events are on; handlers: event type -> function, ``"*"`` for others.
    - on_error: called with the error and the seconds until the next try when connecting failed.
    - on_lost: called when a connection was lost.
    - on_receiver: called with each receiver; setting its ``should_stop`` ends it.

    Raises what a broker says that does not let us in.
    """
    conn = app.connection_for_read().clone()
    stopped = False
    try:
        while not stopped:
            try:
                with noting_refusals(conn):
                    conn.ensure_connection(on_error)
                receiver = app.events.Receiver(conn, handlers=handlers)
                if on_receiver is not None:
                    on_receiver(receiver)
                receiver.capture()
                stopped = bool(receiver.should_stop)
            except conn.connection_errors + conn.channel_errors as exc:
                if is_refusal(exc):
                    raise
                on_lost()
                conn.collect()
    finally:
        conn.release()
