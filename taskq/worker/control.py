"""The commands that a worker understands.

``@inspect_command`` and ``@control_command`` add commands; each is called with the mailbox's state
(app, hostname, consumer) and the command's arguments, and returns the answer.
"""

from __future__ import annotations

import io
import tempfile
from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from billiard.common import TERM_SIGNAME
from kombu.utils.encoding import safe_repr
from kombu.utils.functional import maybe_list

from taskq.exceptions import WorkerShutdown
from taskq.platforms import EX_OK
from taskq.platforms import signals as _signals
from taskq.utils.debug import memdump as print_memory_samples
from taskq.utils.debug import sample_mem
from taskq.utils.log import get_logger
from taskq.utils.serialization import jsonify, strtobool
from taskq.utils.time import rate
from taskq.worker import state as worker_state
from taskq.worker.request import Request

__all__ = ("Panel",)

logger = get_logger("celery.worker.control")

DEFAULT_TASK_INFO_ITEMS = ("exchange", "routing_key", "rate_limit")


class controller_info_t(NamedTuple):  # noqa: N801 - the public name
    """What is known of a command."""

    alias: str | None
    type: str
    visible: bool
    default_timeout: float
    help: str | None
    signature: str | None
    args: list[tuple[str, Any]] | None
    variadic: str | None


def ok(value: Any) -> dict[str, Any]:
    """Return an answer that says it went well."""
    return {"ok": value}


def nok(value: Any) -> dict[str, Any]:
    """Return an answer that says what went wrong."""
    return {"error": value}


class Panel(UserDict[str, Callable[..., Any]]):
    """The commands: name -> function."""

    #: Global registry: the functions, and what is known of them.
    data: dict[str, Callable[..., Any]] = {}
    meta: dict[str, controller_info_t] = {}

    @classmethod
    def register(cls, *args: Any, **kwargs: Any) -> Any:
        """Add a function as a command. Used as decorator, with or without options."""
        if args:
            return cls._register(**kwargs)(*args)
        return cls._register(**kwargs)

    @classmethod
    def _register(
        cls,
        name: str | None = None,
        alias: str | None = None,
        type: str = "control",
        visible: bool = True,
        default_timeout: float = 1.0,
        help: str | None = None,
        signature: str | None = None,
        args: list[tuple[str, Any]] | None = None,
        variadic: str | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(fun: Callable[..., Any]) -> Callable[..., Any]:
            control_name = name or fun.__name__
            _help = help or (fun.__doc__ or "").strip().split("\n")[0]
            cls.data[control_name] = fun
            cls.meta[control_name] = controller_info_t(
                alias, type, visible, default_timeout, _help, signature, args, variadic
            )
            if alias:
                cls.data[alias] = fun
            return fun

        return add


def control_command(**kwargs: Any) -> Any:
    """Add a command that changes something."""
    return Panel.register(type="control", **kwargs)


def inspect_command(**kwargs: Any) -> Any:
    """Add a command that answers a question."""
    return Panel.register(type="inspect", **kwargs)


# -- questions


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
        for request in _find_requests_by_id(maybe_list(ids) or ())
    }


def _find_requests_by_id(ids: Iterable[str]) -> Iterator[Any]:
    for task_id in ids:
        request = worker_state.requests.get(task_id)
        if request is not None:
            yield request


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
    """Tasks that wait for their ETA in the worker."""
    return list(_scheduled(state.consumer.timer))


def _scheduled(timer: Any) -> Iterator[dict[str, Any]]:
    for waiting in timer.schedule.queue:
        try:
            request = waiting.entry.args[0]
        except (IndexError, TypeError):
            continue
        if isinstance(request, Request):
            yield {
                "eta": request.eta.isoformat() if request.eta else None,
                "priority": waiting.priority,
                "request": request.info(),
            }


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


@inspect_command()
def memsample(state: Any, **kwargs: Any) -> Any:
    """Measure how much memory the worker uses, and remember it for memdump."""
    return sample_mem()


@inspect_command(args=[("samples", int)], signature="[n_samples=10]")
def memdump(state: Any, samples: int = 10, **kwargs: Any) -> Any:
    """How much memory the worker used when memsample was called."""
    out = io.StringIO()
    print_memory_samples(samples, file=out)
    return out.getvalue()


@inspect_command(
    default_timeout=60.0,
    signature="[object_type=Request] [num=200 [max_depth=10]]",
    args=[("type", str), ("num", int), ("max_depth", int)],
)
def objgraph(state: Any, num: int = 200, max_depth: int = 10, type: str = "Request") -> Any:
    """Draw what keeps objects of a class in memory, into a file on the worker's machine."""
    try:
        drawing: Any = import_module("objgraph")
    except ImportError:
        return nok("objgraph is not installed: pip install objgraph")
    logger.info("Dumping graph for type %r", type)
    with tempfile.NamedTemporaryFile(prefix="cobjg", suffix=".png", delete=False) as file:
        objects = drawing.by_type(type)[: int(num)]
        drawing.show_backrefs(
            objects,
            max_depth=int(max_depth),
            highlight=lambda found: found in objects,
            filename=file.name,
        )
        return {"filename": file.name}


# -- orders


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(
    state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **kwargs: Any
) -> Any:
    """Don't run tasks, by id; kill them if they run already and that is asked for."""
    task_ids = set(maybe_list(task_id) or ())
    result = _revoke(state, task_ids, terminate, signal, **kwargs)
    if isinstance(result, dict) and "ok" in result:
        return ok(f"tasks {task_ids} flagged as revoked") if not terminate else result
    return result


@control_command(
    variadic="headers",
    signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]",
)
def revoke_by_stamped_headers(
    state: Any, headers: Any, terminate: bool = False, signal: Any = None, **kwargs: Any
) -> Any:
    """Don't run tasks that have any of these stamps."""
    signum = _signals.signum(signal or TERM_SIGNAME)
    if isinstance(headers, list | tuple):
        headers = dict(item.split("=") for item in headers)
    for header, values in headers.items():
        known = list(maybe_list(worker_state.revoked_stamps.get(header)) or ())
        worker_state.revoked_stamps[header] = known + [
            value for value in maybe_list(values) or () if value not in known
        ]
    if not terminate:
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    terminated: set[str] = set()
    for request in list(worker_state.active_requests):
        for header, values in (request.stamps or {}).items():
            wanted = set(maybe_list(headers.get(header)) or ())
            if wanted & set(maybe_list(values) or ()):
                terminated.add(request.id)
                request.terminate(state.consumer.pool, signal=signum)
                break
    if not terminated:
        return ok(f"headers {headers} were not terminated")
    return ok(f"headers {headers} revoked")


def _revoke(
    state: Any, task_ids: set[str], terminate: bool = False, signal: Any = None, **kwargs: Any
) -> Any:
    terminated = set()
    worker_state.revoked.update(task_ids)
    if terminate:
        signum = _signals.signum(signal or TERM_SIGNAME)
        for request in list(_find_requests_by_id(task_ids)):
            if request.id not in terminated:
                terminated.add(request.id)
                logger.info("Terminating %s (%s)", request.id, signum)
                request.terminate(state.consumer.pool, signal=signum)
        if not terminated:
            return ok("terminate: tasks unknown")
        return ok(f"terminate: {', '.join(terminated)}")
    logger.info("Tasks flagged as revoked: %s", ", ".join(task_ids))
    for request in list(_find_requests_by_id(task_ids)):
        # One that waits in the pool would not be asked again before it runs.
        if request not in worker_state.active_requests and state.consumer.pool.cancel_pending(
            request
        ):
            request.revoked()
    return ok(task_ids)


@control_command(
    variadic="task_id",
    args=[("signal", str)],
    signature="<signal> [id1 [id2 [... [idN]]]]",
)
def terminate(state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
    """Revoke tasks and kill them if they run already."""
    return revoke(state, task_id, terminate=True, signal=signal)


@control_command(
    args=[("task_name", str), ("rate_limit", str)],
    signature="<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>",
)
def rate_limit(state: Any, task_name: str, rate_limit: Any, **kwargs: Any) -> Any:
    """Change the rate limit of a task."""
    try:
        rate(rate_limit)
    except ValueError as exc:
        return nok(f"Invalid rate limit string: {exc!r}")
    try:
        state.app.tasks[task_name].rate_limit = rate_limit
    except KeyError:
        logger.error("Rate limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    state.consumer.reset_rate_limits()
    if not rate_limit:
        logger.info("Rate limits disabled for tasks of type %s", task_name)
        return ok("rate limit disabled successfully")
    logger.info("New rate limit for tasks of type %s: %s.", task_name, rate_limit)
    return ok("new rate limit set successfully")


@control_command(
    args=[("task_name", str), ("soft", float), ("hard", float)],
    signature="<task_name> <soft_secs> [hard_secs]",
)
def time_limit(
    state: Any,
    task_name: str | None = None,
    hard: float | None = None,
    soft: float | None = None,
    **kwargs: Any,
) -> Any:
    """Change the time limits of a task, in seconds."""
    try:
        task = state.app.tasks[task_name]
    except KeyError:
        logger.error("Change time limit attempt for unknown task %s", task_name)
        return nok("unknown task")
    task.soft_time_limit = soft
    task.time_limit = hard
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return ok("time limits set successfully")


@control_command()
def election(state: Any, id: str, topic: str, action: Any = None, **kwargs: Any) -> None:
    """Stand for election."""
    gossip = getattr(state.consumer, "gossip", None)
    if gossip is not None and gossip.enabled:
        gossip.election(id, topic, action)


@control_command()
def enable_events(state: Any) -> Any:
    """Send task events."""
    dispatcher = state.consumer.event_dispatcher
    if dispatcher.groups and "task" not in dispatcher.groups:
        dispatcher.groups.add("task")
        logger.info("Events of group {task} enabled by remote.")
        return ok("task events enabled")
    return ok("task events already enabled")


@control_command()
def disable_events(state: Any) -> Any:
    """Stop sending task events."""
    dispatcher = state.consumer.event_dispatcher
    if "task" in dispatcher.groups:
        dispatcher.groups.discard("task")
        logger.info("Events of group {task} disabled by remote.")
        return ok("task events disabled")
    return ok("task events already disabled")


@control_command()
def heartbeat(state: Any) -> None:
    """Send a heartbeat now."""
    logger.debug("Heartbeat requested by remote.")
    state.consumer.event_dispatcher.send("worker-heartbeat", freq=5, **worker_state.SOFTWARE_INFO)


@control_command(args=[("n", int)], signature="[N=1]")
def pool_grow(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Add pool processes."""
    state.consumer.pool.grow(n)
    state.consumer._update_prefetch_count(n)
    return ok("pool will grow")


@control_command(args=[("n", int)], signature="[N=1]")
def pool_shrink(state: Any, n: int = 1, **kwargs: Any) -> Any:
    """Remove pool processes."""
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
