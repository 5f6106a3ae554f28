"""What a server must be before anything is done with it, and what it had better be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
    "{url} is a replica of {primary}, where nothing can be changed: use the URL of the primary, or "
    "a sentinel:// URL that finds it."
)
W_EVICTS = (
    "%s may throw %s away when its memory is full (maxmemory-policy is %s): set it to noeviction, "
    "then publishing fails instead."
)

#: Addresses of servers that were warned about.
_warned: set[str] = set()


def check_client(client: Any, url: str) -> None:
    """Look at the server of a redis-py client before its first use.

    Raises ConnectionError for one that can't hold queues.
    """
    try:
        info = client.info()
    except exceptions.ResponseError:
        return  # the user may not be allowed to ask
    _refuse_unfit(info, url)


def check_server(wire: Wire) -> float | None:
    """Look at the server behind a new connection; return its uptime in seconds, None if unknown.

    Warns once about a server that evicts keys. Raises ConnectionError for one that can't be
    consumed from.
    """
    try:
        info = _info(wire)
    except exceptions.ResponseError:
        return None  # the user may not be allowed to ask
    _refuse_unfit(info, wire.url)
    _warn_of_eviction(wire.url, info)
    try:
        return float(info["uptime_in_seconds"])
    except (KeyError, ValueError):
        return None


def _refuse_unfit(info: Mapping[str, Any], url: str) -> None:
    if info.get("redis_mode") == "cluster":
        raise exceptions.ConnectionError(E_CLUSTER.format(url=url))
    if info.get("role") == "slave":
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        raise exceptions.ConnectionError(E_REPLICA.format(url=url, primary=primary))


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
