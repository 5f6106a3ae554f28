"""Results in Redis, in Celery's keys and formats.

`backend` ties it together; `parameters` reads URLs and settings, `wires` are the connections,
`source` waits, `chords` counts, `sentinel` finds the server.
"""

from __future__ import annotations

from taskq.backends.redis.backend import RedisBackend
from taskq.backends.redis.sentinel import SentinelBackend

__all__ = ("RedisBackend", "SentinelBackend")
