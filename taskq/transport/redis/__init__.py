"""The Redis transport: kombu's key layout, with atomic claims, leases and one round trip a call.

Looked up by `taskq.transport.TRANSPORTS` for ``redis:// rediss:// redis+socket:// unix://`` and
``sentinel://`` URLs. The result backend uses its connections, without loading the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

try:
    import redis as _redis  # noqa: F401
except ImportError as exc:
    raise ImportError(
        "Redis as a broker or result backend needs the redis client: pip install 'taskq[redis]'"
    ) from exc

if TYPE_CHECKING:
    from taskq.transport.redis.channel import Channel
    from taskq.transport.redis.message import Message
    from taskq.transport.redis.sentinel import SentinelChannel, SentinelTransport
    from taskq.transport.redis.transport import Transport

__all__ = ("Channel", "Message", "SentinelChannel", "SentinelTransport", "Transport")

#: Public name -> module, imported when the name is first used: kombu's part takes its time.
_MODULES = {
    "Channel": "channel",
    "Message": "message",
    "SentinelChannel": "sentinel",
    "SentinelTransport": "sentinel",
    "Transport": "transport",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
    return value
