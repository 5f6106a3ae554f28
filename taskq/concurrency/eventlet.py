"""The eventlet pool: tasks run in eventlet's green threads.

Kept for programs that need eventlet; its own authors recommend to move on, to gevent for example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from taskq import signals
from taskq.concurrency.green import GreenPool, missing
from taskq.concurrency.jobs import Job

try:
    import eventlet
except ImportError as exc:
    raise missing("eventlet", exc) from exc

__all__ = ("TaskPool",)


class TaskPool(GreenPool):
    """A pool of eventlet's green threads."""

    def on_start(self) -> None:
        """Prepare the process to run tasks."""
        super().on_start()
        signals.eventlet_pool_started.send(sender=self)

    def on_stop(self) -> None:
        """Finish every job that was submitted."""
        signals.eventlet_pool_preshutdown.send(sender=self)
        super().on_stop()
        signals.eventlet_pool_postshutdown.send(sender=self)

    def submit(self, job: Job) -> None:
        """Run ``job`` in a green thread, at the next flush or later."""
        if signals.eventlet_pool_apply.receivers:
            signals.eventlet_pool_apply.send(
                sender=self, target=self.executor.execute, args=(job.payload,), kwargs={}
            )
        super().submit(job)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        callback: Callable[..., Any] | None = None,
        accept_callback: Callable[..., Any] | None = None,
        **options: Any,
    ) -> Any:
        """Call ``target(*args, **kwargs)`` in a green thread; the callbacks are called there."""
        signals.eventlet_pool_apply.send(sender=self, target=target, args=args, kwargs=kwargs)
        return super().on_apply(target, args, kwargs, callback, accept_callback, **options)

    def spawn(self, function: Callable[..., None], *args: Any) -> Any:
        """Start a green thread soon, and return it."""
        return eventlet.spawn(function, *args)

    def spawn_later(self, seconds: float, function: Callable[..., None], *args: Any) -> Any:
        """Call ``function`` in ``seconds`` seconds; return its green thread."""
        return eventlet.spawn_after(seconds, function, *args)

    def cancel(self, timer: Any) -> None:
        """Don't start the green thread, if it hasn't begun."""
        timer.cancel()

    def throw(self, greenlet: Any, exc: BaseException) -> None:
        """Raise ``exc`` in ``greenlet`` the next time it runs."""
        eventlet.spawn_after(0, greenlet.throw, exc)

    def current(self) -> Any:
        """Return the running green thread."""
        return eventlet.getcurrent()
