"""Handlers: what subclasses may do around their calls."""

from __future__ import annotations

from typing import Any

__all__ = ("Handlers",)


class Handlers:
    """Methods that the worker calls around each execution. They do nothing unless overridden."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Run by the worker before the task starts. The return value is ignored."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Run by the worker when the task has succeeded. The return value is ignored."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task is to be retried. The return value is ignored."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task has failed. The return value is ignored."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Run by the worker when the task has returned, in whatever state."""
