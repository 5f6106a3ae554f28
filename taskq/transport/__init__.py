"""Which kombu transport serves which URL scheme.

Schemes that taskq serves itself are looked up here first, every other one is kombu's. Kombu's
own table is left alone, so that other users of kombu in the same process notice nothing.
"""

from __future__ import annotations

from typing import Any

from kombu import Connection as _KombuConnection
from kombu.transport import TRANSPORT_ALIASES
from kombu.utils.imports import symbol_by_name

__all__ = ("TRANSPORTS", "Connection")

#: URL scheme -> import path of a transport of ours.
TRANSPORTS = {
    "sqlite": "taskq.transport.sqlite:Transport",
    "redis": "taskq.transport.redis:Transport",
    "rediss": "taskq.transport.redis:Transport",
    "redis+socket": "taskq.transport.redis:Transport",
    "unix": "taskq.transport.redis:Transport",
    "sentinel": "taskq.transport.redis:SentinelTransport",
}

# Kombu has no transport of this name, and resolves the scheme of a URL in its own table.
TRANSPORT_ALIASES.setdefault("sqlite", TRANSPORTS["sqlite"])


class Connection(_KombuConnection):
    """A kombu connection that knows taskq's transports."""

    def get_transport_cls(self) -> Any:
        """Return the transport class for the scheme of this connection's URL."""
        path = TRANSPORTS.get(self.transport_cls) if isinstance(self.transport_cls, str) else None
        if path is None:
            return super().get_transport_cls()
        return symbol_by_name(path)
