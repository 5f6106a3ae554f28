"""The worker: consumes messages, has a pool run them, acknowledges them.

`worker` assembles it, `consumer` talks to the broker, `strategy` decides about each message,
`request` follows one message until it is acknowledged.
"""

from __future__ import annotations

from taskq.worker.worker import WorkController

__all__ = ("WorkController",)
