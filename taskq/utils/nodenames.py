"""Names of workers, such as ``celery@example.com``, and what follows from them.

Used for log files, events, remote control and the queue that one worker has to itself.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from taskq.utils.lazymodule import lazy_attributes
from taskq.utils.processes import current_process_index
from taskq.utils.text import simple_format

if TYPE_CHECKING:
    from kombu import Queue

    from taskq.utils.direct_queue import WORKER_DIRECT_EXCHANGE as WORKER_DIRECT_EXCHANGE

__all__ = (
    "anon_nodename",
    "default_nodename",
    "gethostname",
    "host_format",
    "node_format",
    "nodename",
    "nodesplit",
    "worker_direct",
)

#: Queue of one worker; a name on the wire.
WORKER_DIRECT_QUEUE_FORMAT = "{hostname}.dq2"
#: What separates name and host.
NODENAME_SEP = "@"
#: Name of a worker that was given none; a name on the wire.
NODENAME_DEFAULT = "celery"

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__, {"WORKER_DIRECT_EXCHANGE": "taskq.utils.direct_queue:WORKER_DIRECT_EXCHANGE"}
    )


@lru_cache(maxsize=1)
def gethostname() -> str:
    """Return this machine's host name."""
    import socket  # most clients never ask, and it is slow to import

    return socket.gethostname()


def worker_direct(hostname: str | Queue) -> Queue:
    """Return the queue that only worker ``hostname`` consumes from; a queue stays itself."""
    from taskq.utils.direct_queue import direct_queue

    return direct_queue(hostname)


def nodename(name: str, hostname: str) -> str:
    """Return the node name ``name@hostname``."""
    return NODENAME_SEP.join((name, hostname))


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return a node name for a process that is no worker, made of ``prefix`` and its pid."""
    return _anonymous(prefix, os.getpid(), hostname or gethostname())


@lru_cache(maxsize=8)
def _anonymous(prefix: str, pid: int, hostname: str) -> str:
    return nodename(f"{prefix}{pid}", hostname)


def nodesplit(name: str) -> tuple[str | None, str]:
    """Split a node name into name (None if it has none) and host."""
    left, separator, right = name.partition(NODENAME_SEP)
    return (left, right) if separator else (None, left)


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """Return ``hostname`` completed to a node name, with this machine's host if it has none."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """Replace ``%h``, ``%n``, ``%d``, ``%i`` and ``%I`` in ``s`` by parts of node name ``name``."""
    shortname, host = nodesplit(name)
    return host_format(s, host, shortname or NODENAME_DEFAULT, p=name, **extra)


def _process_index(prefix: str = "", default: str = "0") -> str:
    index = current_process_index()
    return f"{prefix}{index}" if index else default


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """Replace the parts of a host name in ``s``.

    ``%h`` is the host, ``%n`` its name, ``%d`` its domain, ``%i`` the index of the pool process (0
    in the main one) and ``%I`` the same with a dash before it (nothing in the main one).

    Parameters:
        s: the text.
        host: the host (default: this machine).
        name: the node's name (default: the host's name).
        extra: more letters and what they stand for.
    """
    host = host or gethostname()
    hname, _, domain = host.partition(".")
    name = name or hname
    keys = {
        "h": host,
        "n": name,
        "d": domain,
        "i": _process_index,
        "I": lambda: _process_index("-", ""),
        **extra,
    }
    return simple_format(s, keys)
