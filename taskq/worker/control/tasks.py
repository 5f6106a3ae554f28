"""Commands that change how tasks are run and what is told about them."""

from __future__ import annotations

from typing import Any

from taskq.utils.log import get_logger
from taskq.utils.time import rate
from taskq.worker import state as worker_state
from taskq.worker.control.panel import control_command, nok, ok

logger = get_logger("celery.worker.control")


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
