"""The Redis transport: kombu's key layout, with atomic claims, leases and one round trip a call.

Looked up by `taskq.transport.TRANSPORTS` for ``redis:// rediss:// redis+socket:// unix://`` and
``sentinel://`` URLs.
"""

from __future__ import annotations

try:
    import redis as _redis  # noqa: F401
except ImportError as exc:
    raise ImportError(
        "Redis as a broker needs the redis client: pip install 'taskq[redis]'"
    ) from exc

from taskq.transport.redis.channel import Channel
from taskq.transport.redis.message import Message
from taskq.transport.redis.sentinel import SentinelChannel, SentinelTransport
from taskq.transport.redis.transport import Transport

__all__ = ("Channel", "Message", "SentinelChannel", "SentinelTransport", "Transport")
