"""The task that tells a test that its worker runs."""

from __future__ import annotations

from taskq.app import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Answer ``pong``."""
    return "pong"
