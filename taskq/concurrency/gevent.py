"""The gevent pool: tasks run in gevent's greenlets.

For many tasks that wait for the network; ``taskq worker -P gevent -c 1000``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskq.concurrency.green import GreenPool, missing

try:
    import gevent
except ImportError as exc:
    raise missing("gevent", exc) from exc

__all__ = ("TaskPool",)


class TaskPool(GreenPool):
    """A pool of gevent's greenlets."""

    def spawn(self, function: Callable[..., None], *args: Any) -> Any:
        """Start a greenlet soon, and return it."""
        return gevent.spawn(function, *args)

    def spawn_later(self, seconds: float, function: Callable[..., None], *args: Any) -> Any:
        """Call ``function`` in ``seconds`` seconds; return its greenlet."""
        return gevent.spawn_later(seconds, function, *args)

    def cancel(self, timer: Any) -> None:
        """Don't start the greenlet, if it hasn't begun."""
        timer.kill(block=False)

    def throw(self, greenlet: Any, exc: BaseException) -> None:
        """Raise ``exc`` in ``greenlet`` the next time it runs."""
        greenlet.kill(exc, block=False)

    def current(self) -> Any:
        """Return the running greenlet."""
        return gevent.getcurrent()
