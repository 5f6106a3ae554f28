"""First-generation name of the task registry: see `taskq.task`."""

from __future__ import annotations

from taskq.task import tasks

__all__ = ("tasks",)
