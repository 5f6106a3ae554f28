"""Commands that ask what a worker does and knows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kombu.utils.encoding import safe_repr
from kombu.utils.functional import maybe_list

from taskq.utils.log import get_logger
from taskq.utils.serialization import jsonify, strtobool
from taskq.worker import state as worker_state
from taskq.worker.consumer.holding import ETA_PRIORITY
from taskq.worker.control.deferred import deferred_requests, shown
from taskq.worker.control.finding import find_requests
from taskq.worker.control.panel import inspect_command, ok
from taskq.worker.request import Request

logger = get_logger("celery.worker.control")

DEFAULT_TASK_INFO_ITEMS = ("exchange", "routing_key", "rate_limit")


@inspect_command()
def report(state: Any) -> Any:
    """Information about the worker for bug reports."""
    return ok(state.app.bugreport())


@inspect_command(
    alias="dump_conf",
    signature="[include_defaults=False]",
    args=[("with_defaults", strtobool)],
)
def conf(state: Any, with_defaults: bool = False, **kwargs: Any) -> Any:
    """The worker's settings."""
    return jsonify(
        state.app.conf.table(with_defaults=with_defaults),
        keyfilter=lambda key: isinstance(key, str) and not key.startswith("__"),
        unknown_type_filter=safe_repr,
    )


@inspect_command(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: Any, ids: Any, **kwargs: Any) -> Any:
    """What the worker knows of tasks, by id."""
    return {
        request.id: (_state_of_task(request), request.info())
        for request in find_requests(maybe_list(ids) or ())
    }


def _state_of_task(request: Any) -> str:
    if request in worker_state.active_requests:
        return "active"
    if request in worker_state.reserved_requests:
        return "reserved"
    if request in worker_state.scheduled_requests:
        return "scheduled"
    return "ready"


@inspect_command()
def clock(state: Any, **kwargs: Any) -> Any:
    """The worker's logical clock."""
    return {"clock": state.app.clock.value}


@inspect_command(visible=False)
def hello(state: Any, from_node: str, revoked: Any = None, **kwargs: Any) -> Any:
    """Exchange revoked ids and clocks with a starting worker."""
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", from_node)
    if revoked:
        # Older workers send ids with the times of their own clocks, which mean nothing here.
        worker_state.revoked.update(list(revoked))
    # Expired ones are not worth telling.
    worker_state.revoked.purge()
    return {"revoked": list(worker_state.revoked), "clock": state.app.clock.forward()}


@inspect_command(default_timeout=0.2)
def ping(state: Any, **kwargs: Any) -> Any:
    """Whether the worker is there."""
    return ok("pong")


@inspect_command()
def stats(state: Any, **kwargs: Any) -> Any:
    """Statistics of the worker."""
    return state.consumer.controller.stats()


@inspect_command(alias="dump_schedule")
def scheduled(state: Any, **kwargs: Any) -> Any:
    """Tasks that wait for their ETA, in the worker or for its queues at the broker."""
    held = _scheduled(state.consumer.timer)
    at_broker = ((request, ETA_PRIORITY) for request in deferred_requests(state.consumer))
    return [
        {
            "eta": request.eta.isoformat() if request.eta else None,
            "priority": priority,
            "request": shown(request),
        }
        for request, priority in (*held, *at_broker)
    ]


def _scheduled(timer: Any) -> Iterator[tuple[Request, int]]:
    for waiting in timer.schedule.queue:
        try:
            request = waiting.entry.args[0]
        except (IndexError, TypeError):
            continue
        if isinstance(request, Request):
            yield request, waiting.priority


@inspect_command(alias="dump_reserved")
def reserved(state: Any, **kwargs: Any) -> Any:
    """Tasks received and not begun."""
    held = set(worker_state.reserved_requests) - set(worker_state.active_requests)
    return [request.info() for request in held]


@inspect_command(alias="dump_active")
def active(state: Any, safe: bool = False, **kwargs: Any) -> Any:
    """Tasks being run."""
    return [request.info(safe=bool(safe)) for request in list(worker_state.active_requests)]


@inspect_command(alias="dump_revoked")
def revoked(state: Any, **kwargs: Any) -> Any:
    """Ids of revoked tasks."""
    return list(worker_state.revoked)


@inspect_command(
    alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]"
)
def registered(state: Any, taskinfoitems: Any = None, builtins: bool = False, **kwargs: Any) -> Any:
    """Names of the registered tasks, with attributes of theirs."""
    tasks = state.app.tasks
    items = taskinfoitems or DEFAULT_TASK_INFO_ITEMS
    names = tasks if builtins else (name for name in tasks if not name.startswith("celery."))

    def describe(task: Any) -> str:
        fields = {
            item: str(getattr(task, item, None))
            for item in items
            if getattr(task, item, None) is not None
        }
        if not fields:
            return str(task.name)
        return f"{task.name} [{' '.join(f'{key}={value}' for key, value in fields.items())}]"

    return [describe(tasks[name]) for name in sorted(names)]


@inspect_command()
def active_queues(state: Any) -> Any:
    """Queues that the worker consumes from."""
    if not state.consumer.task_consumer:
        return []
    return [dict(queue.as_dict(recurse=True)) for queue in state.consumer.task_consumer.queues]
