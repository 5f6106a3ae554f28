"""Recognises processes of this machine: is the one that wrote this down still alive?

Used to give a killed consumer's messages back at once, without waiting for its lease to run out.
Where the system does not tell (no ``/proc``, or another container), only the lease counts.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache

__all__ = ("Identity", "current_identity", "is_dead")

#: States in ``/proc/<pid>/stat`` of a process that will never run again.
ENDED_STATES = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one process from all others, before and after a reboot."""

    pid: int
    #: When it started, in clock ticks since boot; empty if unknown.
    started: str
    #: Boot and pid namespace in which `pid` means something; empty if unknown.
    scope: str
    host: str


def current_identity() -> Identity:
    """Return the identity of this process."""
    pid = os.getpid()
    try:
        status = _status(pid)
    except OSError:
        status = None
    return Identity(
        pid=pid,
        started=status[1] if status else "",
        scope=_scope(),
        host=socket.gethostname(),
    )


def is_dead(pid: int, started: str, scope: str) -> bool:
    """Tell whether that process has certainly ended; False when there is any doubt.

    Parameters:
        pid, started, scope: as in its `Identity`.
    """
    if not (started and scope) or scope != _scope():
        return False
    try:
        status = _status(pid)
    except OSError:
        # For instance out of file descriptors: that says nothing about the other process.
        return False
    if status is None:
        return not _exists(pid)
    return status[0] in ENDED_STATES or status[1] != started


def _status(pid: int) -> tuple[str, str] | None:
    """Return the state and start time of a process, or None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return fields[0], fields[19]


def _exists(pid: int) -> bool:
    """Tell whether there is such a process; ``/proc`` may hide those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _scope() -> str:
    """Return what makes pids comparable, or nothing where that is not known."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
