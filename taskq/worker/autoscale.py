"""Varying the number of pool processes with the work at hand (``--autoscale=max,min``).

`Autoscaler` decides; `WorkerComponent` asks it with each task and once in a while.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from time import monotonic, sleep
from typing import Any

from taskq import bootsteps
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import qualname
from taskq.utils.log import get_logger
from taskq.utils.threads import bgThread
from taskq.worker import state
from taskq.worker.components import Pool

__all__ = ("Autoscaler", "WorkerComponent")

logger = get_logger("celery.worker.autoscale")

#: Seconds after the pool has grown in which it does not shrink.
AUTOSCALE_KEEPALIVE = float(
    os.environ.get("TASKQ_AUTOSCALE_KEEPALIVE") or os.environ.get("AUTOSCALE_KEEPALIVE") or 30
)


class WorkerComponent(bootsteps.StartStopStep):
    """Makes the autoscaler of a worker that has ``--autoscale``.

    - autoscale: (max, min) processes.
    """

    label = "Autoscaler"
    conditional = True
    requires = (Pool,)

    _timer_entry: Any = None

    def __init__(self, w: Any, autoscale: Any = None, **kwargs: Any) -> None:
        if isinstance(autoscale, str):
            most, _, least = autoscale.partition(",")
            autoscale = int(most), int(least or 0)
        self.enabled = w.autoscale = autoscale
        w.autoscaler = None
        if autoscale:
            if not hasattr(w.pool_cls, "grow"):
                pool = qualname(w.pool_cls)
                raise ImproperlyConfigured(
                    f"--autoscale needs a pool that can grow and shrink, and {pool} can't: leave "
                    "the option out, or choose another pool with -P"
                )
            # The pool, made after this, begins with the least; one process always stays.
            w.max_concurrency = max(*autoscale, 1)
            w.min_concurrency = max(min(autoscale), 1)
        super().__init__(w, **kwargs)

    def create(self, w: Any) -> Any:
        """Make the autoscaler. It is no thread here: the loop calls it."""
        w.autoscaler = self.instantiate(
            w.autoscaler_cls,
            w.pool,
            w.max_concurrency,
            w.min_concurrency,
            worker=w,
            mutex=None,
        )

    def register_with_event_loop(self, w: Any, hub: Any) -> None:
        """Ask with each task that comes, and once in a while."""
        w.consumer.on_task_message.add(w.autoscaler.on_task_received)
        if self._timer_entry is not None:  # the loop starts again with each connection
            self._timer_entry.cancel()
        self._timer_entry = hub.call_repeatedly(w.autoscaler.keepalive, w.autoscaler.maybe_scale)

    def info(self, w: Any) -> dict[str, Any]:
        """Return what ``inspect stats`` tells."""
        return {"autoscaler": w.autoscaler.info()}


class Autoscaler(bgThread):
    """Grows the pool when more tasks are held than it has processes, and shrinks it later.

    - pool: the pool; worker: the worker; mutex: context manager around changes.
    - max_concurrency, min_concurrency: between how many processes it may vary.
    - keepalive: seconds after it has grown in which it does not shrink.
    """

    def __init__(
        self,
        pool: Any,
        max_concurrency: int,
        min_concurrency: int = 0,
        worker: Any = None,
        keepalive: float = AUTOSCALE_KEEPALIVE,
        mutex: AbstractContextManager[Any] | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.mutex: AbstractContextManager[Any] = threading.RLock() if mutex is None else mutex
        self.max_concurrency = max_concurrency
        self.min_concurrency = min_concurrency
        self.worker = worker
        self.keepalive = keepalive
        self._last_scale_up: float | None = None

    def body(self) -> None:
        """Scale, as a thread: for programs that have no loop to call `maybe_scale`."""
        with self.mutex:
            self.maybe_scale()
        sleep(1.0)

    def on_task_received(self, req: Any) -> None:
        """A task has come."""
        self.maybe_scale(req)

    def maybe_scale(self, req: Any = None) -> None:
        """Grow or shrink the pool if the work at hand asks for it."""
        with self.mutex:
            self._maybe_scale(req)

    def _maybe_scale(self, req: Any = None) -> bool:
        processes = self.processes
        wanted = max(min(self.qty, self.max_concurrency), self.min_concurrency, 1)
        if wanted > processes:
            self.scale_up(wanted - processes)
            return True
        if wanted < processes:
            self.scale_down(processes - wanted)
            return True
        return False

    def scale_up(self, n: int) -> None:
        """Add ``n`` processes."""
        self._last_scale_up = monotonic()
        self._grow(n)

    def scale_down(self, n: int) -> None:
        """Let ``n`` processes go, unless the pool has grown lately."""
        if self._last_scale_up is None or monotonic() - self._last_scale_up > self.keepalive:
            self._shrink(n)

    def _grow(self, n: int) -> None:
        logger.info("Scaling up %s processes.", n)
        self.pool.grow(n)

    def _shrink(self, n: int) -> None:
        logger.info("Scaling down %s processes.", n)
        try:
            self.pool.shrink(n)
        except ValueError as exc:
            logger.debug("Autoscaler won't scale down: %s", exc)

    def update(self, max: int | None = None, min: int | None = None) -> tuple[int, int]:
        """Change the limits; returns them as (max, min).

        - max, min: processes, unchanged when None.

        Raises ValueError when the pool could not be within them.
        """
        most = self.max_concurrency if max is None else max
        least = self.min_concurrency if min is None else min
        if most < 1 or least < 0 or least > most:
            raise ValueError(
                f"autoscale limits max={most}, min={least} leave no number of processes: max is "
                "at least 1, and min at most max"
            )
        with self.mutex:
            self._update_consumer_prefetch_count(most)
            self.max_concurrency, self.min_concurrency = most, least
            processes = self.processes
            if processes > most:
                self._shrink(processes - most)
            elif processes < least:
                self._grow(least - processes)
        return most, least

    def _update_consumer_prefetch_count(self, new_max: int) -> None:
        """Hold as many messages as the largest pool can use."""
        change = new_max - self.max_concurrency
        consumer = getattr(self.worker, "consumer", None)
        if not change or consumer is None or not consumer.initial_prefetch_count:
            return
        consumer.initial_prefetch_count = new_max * consumer.prefetch_multiplier
        consumer._update_qos_eventually(change)

    def info(self) -> dict[str, Any]:
        """Return limits and numbers."""
        return {
            "max": self.max_concurrency,
            "min": self.min_concurrency,
            "current": self.processes,
            "qty": self.qty,
        }

    @property
    def qty(self) -> int:
        """Tasks that are held."""
        return len(state.reserved_requests)

    @property
    def processes(self) -> int:
        """Processes of the pool."""
        return int(self.pool.num_processes)
