"""Commands that change the worker itself: its pool, its queues, whether it runs."""

from __future__ import annotations

from typing import Any

from taskq.exceptions import WorkerShutdown
from taskq.platforms import EX_OK
from taskq.utils.imports import qualname
from taskq.utils.log import get_logger
from taskq.worker import state as worker_state
from taskq.worker.control.panel import control_command, ok

logger = get_logger("celery.worker.control")


def _check(state: Any, command: str, n: int) -> None:
    """Raise ValueError where the number of processes can't be changed so."""
    if n < 0:
        raise ValueError(f"{command} takes a number of processes, not {n}")
    if not hasattr(state.consumer.pool, "grow"):
        pool = qualname(type(state.consumer.pool))
        raise ValueError(f"{command} is not for {pool}, whose size never changes")
    if state.consumer.controller.autoscaler is not None:
        raise ValueError(
            f"{command} is no use with --autoscale, which would undo it: change its limits instead"
        )


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Add pool processes."""
    _check(state, "pool_grow", n)
    state.consumer.pool.grow(n)
    state.consumer._update_prefetch_count(n)
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Remove pool processes."""
    _check(state, "pool_shrink", n)
    state.consumer.pool.shrink(n)
    state.consumer._update_prefetch_count(-n)
    return ok("pool will shrink")


@control_command()
def pool_restart(
    state: Any, modules: Any = None, reload: bool = False, reloader: Any = None, **kwargs: Any
) -> Any:
    """Import modules and restart the pool's processes."""
    if not state.app.conf.worker_pool_restarts:
        raise ValueError("Pool restarts not enabled: set worker_pool_restarts")
    state.consumer.controller.reload(modules, reload, reloader=reloader)
    return ok("reload started")


@control_command(args=[("max", int), ("min", int)], signature="[max [min]]")
def autoscale(state: Any, max: int | None = None, min: int | None = None) -> Any:
    """Change between how many processes the pool may vary."""
    autoscaler = state.consumer.controller.autoscaler
    if autoscaler is None:
        raise ValueError("Autoscale not enabled: start the worker with --autoscale=max,min")
    most, least = autoscaler.update(max, min)
    return ok(f"autoscale now max={most} min={least}")


@control_command()
def shutdown(state: Any, msg: str = "Got shutdown from remote", **kwargs: Any) -> Any:
    """Shut the worker down, warmly."""
    logger.warning(msg)
    worker_state.should_stop = EX_OK
    raise WorkerShutdown(EX_OK)


@control_command(
    args=[("queue", str), ("exchange", str), ("exchange_type", str), ("routing_key", str)],
    signature="<queue> [exchange [type [routing_key]]]",
)
def add_consumer(
    state: Any,
    queue: str,
    exchange: str | None = None,
    exchange_type: str | None = None,
    routing_key: str | None = None,
    **options: Any,
) -> Any:
    """Consume from one more queue."""
    state.consumer.call_soon(
        state.consumer.add_task_queue,
        queue,
        exchange,
        exchange_type or "direct",
        routing_key,
        **options,
    )
    return ok(f"add consumer {queue}")


@control_command(args=[("queue", str)], signature="<queue>")
def cancel_consumer(state: Any, queue: str, **_: Any) -> Any:
    """Stop consuming from a queue."""
    state.consumer.call_soon(state.consumer.cancel_task_queue, queue)
    return ok(f"no longer consuming from {queue}")
