"""What a server must be before queues are consumed from it, and what it had better be."""

from __future__ import annotations

from kombu.log import get_logger
from redis import exceptions

from taskq.transport.redis.resp import pack
from taskq.transport.redis.wire import Wire

logger = get_logger(__name__)

E_CLUSTER = (
    "{url} is part of a Redis Cluster, which can't hold queues, because scripts must reach all of "
    "a fleet's keys at once: use a server with cluster mode off."
)
E_REPLICA = (
    "{url} is a replica of {primary}: consuming changes data, so use the URL of the primary, or a "
    "sentinel:// URL that finds it."
)
W_EVICTS = (
    "%s may throw %s away when its memory is full (maxmemory-policy is %s): set it to noeviction, "
    "then publishing fails instead."
)

#: Addresses of servers that were warned about.
_warned: set[str] = set()


def check_server(wire: Wire) -> float | None:
    """Look at the server behind a new connection; return its uptime in seconds, None if unknown.

    Warns once about a server that evicts keys. Raises ConnectionError for one that can't be
    consumed from.
    """
    try:
        info = _info(wire)
    except exceptions.ResponseError:
        return None  # the user may not be allowed to ask
    if info.get("redis_mode") == "cluster":
        raise exceptions.ConnectionError(E_CLUSTER.format(url=wire.url))
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        raise exceptions.ConnectionError(E_REPLICA.format(url=wire.url, primary=primary))
    _warn_of_eviction(wire.url, info)
    try:
        return float(info["uptime_in_seconds"])
    except (KeyError, ValueError):
        return None


def _info(wire: Wire) -> dict[str, str]:
    text: bytes = wire.call(pack("INFO"))
    fields = (line.split(":", 1) for line in text.decode(errors="replace").splitlines())
    return {field[0]: field[1] for field in fields if len(field) == 2}


def _warn_of_eviction(url: str, info: dict[str, str]) -> None:
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction" or info.get("maxmemory", "0") == "0" or url in _warned:
        return
    _warned.add(url)
    # volatile-* takes keys with an expiry only: results, but no queues.
    what = "queues" if policy.startswith("allkeys") else "results"
    logger.warning(W_EVICTS, url, what, policy)
