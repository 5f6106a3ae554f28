"""Which kombu transport serves which URL scheme.

Schemes that taskq serves itself are looked up here first, every other one is kombu's. Kombu's
own table is left alone, so that other users of kombu in the same process notice nothing.
"""

from __future__ import annotations

from typing import Any

from kombu import Connection as _KombuConnection
from kombu.connection import PooledConnection as _KombuPooledConnection
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.imports import symbol_by_name

from taskq.transport.pools import ConnectionPool, ProducerPool

__all__ = ("TRANSPORTS", "Connection", "ConnectionPool", "ProducerPool")

#: URL scheme -> import path of a transport of ours.
TRANSPORTS = {
    "sqlite": "taskq.transport.sqlite:Transport",
    "redis": "taskq.transport.redis:Transport",
    "rediss": "taskq.transport.redis:Transport",
    "redis+socket": "taskq.transport.redis:Transport",
    "unix": "taskq.transport.redis:Transport",
    "sentinel": "taskq.transport.redis:SentinelTransport",
}

#: URL scheme -> import path of a kombu transport that we only make quicker.
_REFINED = dict.fromkeys(("amqp", "amqps", "pyamqp"), "taskq.transport.amqp:Transport")
_PATHS = {**TRANSPORTS, **_REFINED}

# Kombu has no transport of this name, and resolves the scheme of a URL in its own table.
TRANSPORT_ALIASES.setdefault("sqlite", TRANSPORTS["sqlite"])


class _KnowsOurTransports:
    """Looks the transport up in our table before kombu's."""

    transport_cls: Any

    def get_transport_cls(self) -> Any:
        """Return the transport class for the scheme of this connection's URL."""
        path = _PATHS.get(self.transport_cls) if isinstance(self.transport_cls, str) else None
        if path is None:
            return super().get_transport_cls()  # type: ignore[misc]
        return symbol_by_name(path)


class PooledConnection(_KnowsOurTransports, _KombuPooledConnection):
    """A connection that belongs to a pool."""


class Connection(_KnowsOurTransports, _KombuConnection):
    """A kombu connection that knows taskq's transports."""

    def Pool(self, limit: int | None = None, **kwargs: Any) -> ConnectionPool:  # noqa: N802
        """Return a pool of connections like this one.

        - limit: how many at most; None or 0 for no limit, connections are closed after use then.
        """
        info = self._info(resolve=False)
        return ConnectionPool(self, limit, lambda pool: PooledConnection(pool, **dict(info)))
