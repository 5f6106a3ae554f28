"""Lets a signal end the event loop's waiting.

A handler only notes what is to be done; without this the loop would see it when the next message
or timer happens to come.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def on_signals(hub: Any) -> Iterator[None]:
    """Wake the hub when a signal arrives, while the block runs.

    Does nothing outside the main thread, where Python handles no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    receiver, sender = socket.socketpair()
    receiver.setblocking(False)
    sender.setblocking(False)
    hub.add_reader(receiver.fileno(), _read_away, receiver)
    previous = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        hub.remove_reader(receiver.fileno())
        receiver.close()
        sender.close()


def _read_away(receiver: socket.socket) -> None:
    try:
        while receiver.recv(4096):
            continue
    except BlockingIOError:
        return  # all read
