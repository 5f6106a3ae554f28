"""The steps of a worker: timer, event loop, pool, state database, consumer, embedded beat."""

from __future__ import annotations

import atexit
from typing import Any

from kombu.asynchronous import Hub as _Hub
from kombu.asynchronous import get_event_loop, set_event_loop

from taskq import bootsteps
from taskq._state import _set_task_join_will_block
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import qualname, symbol_by_name
from taskq.utils.log import get_logger
from taskq.worker import state

__all__ = ("Beat", "Consumer", "Hub", "Pool", "StateDB", "Timer")

logger = get_logger("celery.worker")


ERR_B_GREEN = (
    "worker -B does not work with the pools of greenlets, eventlet and gevent: "
    "run 'taskq beat' beside the worker"
)
W_NO_PROCESSES = (
    "%s has no effect here: %s has no processes to replace. Use the prefork pool, or leave it out."
)


class Timer(bootsteps.Step):
    """The timer is the event loop's; this step gives it a name that others can require."""

    def create(self, w: Any) -> None:
        """Nothing: `Hub` brings the timer along."""


class Hub(bootsteps.StartStopStep):
    """The worker's event loop."""

    requires = (Timer,)

    def __init__(self, w: Any, **kwargs: Any) -> None:
        w.hub = None
        super().__init__(w, **kwargs)

    def create(self, w: Any) -> Any:
        """Make the loop, and its timer the worker's."""
        w.hub = get_event_loop()
        if w.hub is None or not isinstance(w.hub, _Hub):
            w.hub = set_event_loop(_Hub())
        else:
            # Left over by a worker that ran in this process before.
            w.hub.reset()
        w.timer = w.hub.timer
        return self

    def start(self, w: Any) -> None:
        """The loop is run by the consumer."""

    def stop(self, w: Any) -> None:
        """Close the loop."""
        w.hub.close()

    def terminate(self, w: Any) -> None:
        """Close the loop."""
        w.hub.close()


class Pool(bootsteps.StartStopStep):
    """The pool that runs the tasks."""

    requires = (Hub,)

    def __init__(self, w: Any, autoscale: Any = None, **kwargs: Any) -> None:
        w.pool = None
        w.max_concurrency = None
        w.min_concurrency = w.concurrency
        self.optimization = w.optimization
        super().__init__(w, **kwargs)

    def create(self, w: Any) -> Any:
        """Make the pool; it starts its processes when it is started."""
        _warn_of_limits_without_processes(w)
        pool = w.pool = self.instantiate(
            w.pool_cls,
            w.min_concurrency,
            initargs=(w.app, w.hostname),
            hostname=w.hostname,
            max_tasks_per_child=w.max_tasks_per_child,
            maxtasksperchild=w.max_tasks_per_child,
            max_memory_per_child=w.max_memory_per_child,
            timeout=w.time_limit,
            soft_timeout=w.soft_time_limit,
            putlocks=w.pool_putlocks,
            lost_worker_timeout=w.worker_lost_wait,
            allow_restart=w.pool_restarts,
            forking_enable=True,
            start_method=w.pool_start_method,
            semaphore=None,
            sched_strategy=self.optimization,
            app=w.app,
        )
        return pool

    def start(self, w: Any) -> None:
        """Start the pool and let it take part in the loop."""
        # Before it starts: what it forks takes this over.
        _set_task_join_will_block(w.pool.task_join_will_block)
        w.pool.start()
        w.pool.register_with_event_loop(w.hub)

    def close(self, w: Any) -> None:
        """Take no more work."""
        if w.pool:
            w.pool.close()

    def terminate(self, w: Any) -> None:
        """Kill what runs."""
        if w.pool:
            w.pool.terminate()

    def info(self, w: Any) -> dict[str, Any]:
        """Return what ``inspect stats`` tells about the pool."""
        return {"pool": w.pool.info if w.pool else "N/A"}


def _warn_of_limits_without_processes(w: Any) -> None:
    """Say so when processes are to be replaced and the pool has none."""
    if getattr(w.pool_cls, "replaces_processes", True):
        return
    for limit in ("max_tasks_per_child", "max_memory_per_child"):
        if getattr(w, limit):
            logger.warning(W_NO_PROCESSES, f"worker_{limit}", qualname(w.pool_cls))


class Beat(bootsteps.StartStopStep):
    """Beat inside the worker (``-B``), as a process of its own."""

    label = "Beat"
    conditional = True
    requires = (Hub,)

    def __init__(self, w: Any, beat: bool = False, **kwargs: Any) -> None:
        self.enabled = w.beat = beat
        w.beat = None
        super().__init__(w, beat=beat, **kwargs)

    def create(self, w: Any) -> Any:
        """Make the process; it is started with the worker.

        Raises ImproperlyConfigured with pools of greenlets, which patch what processes need.
        """
        if getattr(w.pool_cls, "is_green", False):
            raise ImproperlyConfigured(ERR_B_GREEN)
        # Only workers that run beat import it.
        embedded = symbol_by_name("taskq.beat:EmbeddedService")
        service = w.beat = embedded(
            w.app, schedule_filename=w.schedule_filename, scheduler_cls=w.scheduler
        )
        return service


class StateDB(bootsteps.Step):
    """Keeps revoked ids in a file (``--statedb``)."""

    def __init__(self, w: Any, **kwargs: Any) -> None:
        self.enabled = w.statedb
        w._persistence = None
        super().__init__(w, **kwargs)

    def create(self, w: Any) -> None:
        """Read the file, and write it when the process ends."""
        w._persistence = state.Persistent(state, w.statedb, w.app.clock)
        atexit.register(w._persistence.save)


class Consumer(bootsteps.StartStopStep):
    """The consumer."""

    last = True

    def create(self, w: Any) -> Any:
        """Make the consumer."""
        if w.max_concurrency:
            prefetch_count = max(w.max_concurrency, 1) * w.prefetch_multiplier
        else:
            prefetch_count = w.concurrency * w.prefetch_multiplier
        consumer = w.consumer = self.instantiate(
            w.consumer_cls,
            w.process_task,
            hostname=w.hostname,
            task_events=w.task_events,
            init_callback=w.ready_callback,
            initial_prefetch_count=prefetch_count,
            pool=w.pool,
            timer=w.timer,
            app=w.app,
            controller=w,
            hub=w.hub,
            worker_options=w.options,
            disable_rate_limits=w.disable_rate_limits,
            prefetch_multiplier=w.prefetch_multiplier,
        )
        return consumer
