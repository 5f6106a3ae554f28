"""Commands that keep tasks from running, or end those that run."""

from __future__ import annotations

from typing import Any

from billiard.common import TERM_SIGNAME
from kombu.utils.functional import maybe_list

from taskq.platforms import signals as _signals
from taskq.utils.log import get_logger
from taskq.worker import state as worker_state
from taskq.worker.control.finding import find_requests
from taskq.worker.control.panel import control_command, ok

logger = get_logger("celery.worker.control")


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
    stamped = [each for each in worker_state.reserved_requests if _has_any_stamp(each, headers)]
    _drop_waiting(state.consumer, stamped)
    if not terminate:
        return ok(f"headers {headers} flagged as revoked, but not terminated")
    terminated: set[str] = set()
    for request in stamped:
        if request in worker_state.active_requests:
            terminated.add(request.id)
            request.terminate(state.consumer.pool, signal=signum)
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
        for request in list(find_requests(task_ids)):
            if request.id not in terminated:
                terminated.add(request.id)
                logger.info("Terminating %s (%s)", request.id, signum)
                request.terminate(state.consumer.pool, signal=signum)
        if not terminated:
            return ok("terminate: tasks unknown")
        return ok(f"terminate: {', '.join(terminated)}")
    logger.info("Tasks flagged as revoked: %s", ", ".join(task_ids))
    _drop_waiting(state.consumer, list(find_requests(task_ids)))
    return ok(task_ids)


def _has_any_stamp(request: Any, headers: Any) -> bool:
    """Return whether a request has one of the stamps, given as header -> value or values."""
    for header, values in (request.stamps or {}).items():
        if set(maybe_list(headers.get(header)) or ()) & set(maybe_list(values) or ()):
            return True
    return False


def _drop_waiting(consumer: Any, requests: list[Any]) -> None:
    """End the revoked requests that have not begun.

    Those that wait in the pool, or in the hands of a child, would not be asked again before they
    run; those that wait for their rate limit not for a long time.
    """
    for request in requests:
        if request in worker_state.active_requests:
            continue
        if consumer.pool.cancel_pending(request) or consumer.forget_limited(request):
            request.revoked()


@control_command(
    variadic="task_id",
    args=[("signal", str)],
    signature="<signal> [id1 [id2 [... [idN]]]]",
)
def terminate(state: Any, signal: Any, task_id: Any, **kwargs: Any) -> Any:
    """Revoke tasks and kill them if they run already."""
    return revoke(state, task_id, terminate=True, signal=signal)
