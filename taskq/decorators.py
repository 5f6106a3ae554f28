"""First-generation name of the task decorator: see `taskq.task`."""

from __future__ import annotations

from taskq.task import task

__all__ = ("task",)
