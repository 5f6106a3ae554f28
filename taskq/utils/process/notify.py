"""Tells the service manager about this process, with systemd's notification protocol.

Datagrams of ``KEY=value`` lines to the socket that ``NOTIFY_SOCKET`` names; other managers that set
that variable (s6, Podman, runit's wrappers) understand them too. Used by the worker's step.
"""

from __future__ import annotations

import os
import socket

#: Set by the service manager: path of a socket; ``@`` in front for one without a file.
SOCKET_VARIABLE = "NOTIFY_SOCKET"


def expected() -> bool:
    """Return whether a service manager listens to this process."""
    return bool(os.environ.get(SOCKET_VARIABLE))


def notify(**state: str | int) -> None:
    """Tell the service manager, such as ``notify(READY=1, STATUS="consuming")``.

    Does nothing where none listens.

    Raises:
        OSError: it can't be reached.
    """
    address = os.environ.get(SOCKET_VARIABLE)
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    text = "\n".join(f"{key}={value}" for key, value in state.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect(address)
        sock.sendall(text.encode())


def watchdog_seconds() -> float | None:
    """Return how long the service manager waits for ``WATCHDOG=1``; None if it does not.

    Raises:
        ValueError: ``WATCHDOG_USEC`` is no number of microseconds.
    """
    text, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not text or (pid and pid != str(os.getpid())):
        return None
    try:
        return int(text) / 1_000_000
    except ValueError:
        raise ValueError(f"WATCHDOG_USEC must be microseconds, not {text!r}") from None
