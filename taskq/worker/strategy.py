"""What the worker does with a message of a task, decided once per task.

`default` returns the function that the consumer calls with every message of one task: make the
request, check whether it may run, hold it for its ETA or rate limit, or give it to the pool.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from kombu.exceptions import ContentDisallowed
from kombu.serialization import prepare_accept_content, registry

from taskq import signals
from taskq.exceptions import InvalidTaskError
from taskq.utils.imports import symbol_by_name
from taskq.utils.log import get_logger
from taskq.worker import state
from taskq.worker.poison import delivery_limit
from taskq.worker.request import Request, create_request_cls

__all__ = ("default",)

logger = get_logger("celery.worker.strategy")

#: What nearly every message says about its time limits.
NO_LIMITS = [None, None]


def hybrid_to_proto2(message: Any, body: Mapping[str, Any]) -> tuple[Any, Any, bool, bool]:
    """Convert a message that has protocol 2's headers and protocol 1's body.

    Returns body, headers, whether the body is decoded (True), whether times are UTC.
    """
    try:
        args, kwargs = body.get("args", ()), body.get("kwargs", {})
    except (KeyError, AttributeError) as exc:
        raise InvalidTaskError("Message does not have args/kwargs") from exc
    _require_mapping(kwargs)
    given = message.headers or {}
    headers = {
        "lang": body.get("lang"),
        "task": body.get("task"),
        "id": body.get("id"),
        "root_id": body.get("root_id"),
        "parent_id": body.get("parent_id"),
        "group": body.get("group"),
        "meth": body.get("meth"),
        "shadow": body.get("shadow"),
        "eta": body.get("eta"),
        "expires": body.get("expires"),
        "retries": body.get("retries", 0),
        "timelimit": body.get("timelimit", (None, None)),
        "argsrepr": body.get("argsrepr"),
        "kwargsrepr": body.get("kwargsrepr"),
        "origin": body.get("origin"),
        **given,
    }
    embed = {
        "callbacks": body.get("callbacks"),
        "errbacks": body.get("errbacks"),
        "chord": body.get("chord"),
        "chain": None,
    }
    return (args, kwargs, embed), headers, True, body.get("utc", True)


def proto1_to_proto2(message: Any, body: Mapping[str, Any]) -> tuple[Any, Any, bool, bool]:
    """Convert a message of protocol 1.

    Returns body, headers, whether the body is decoded (True), whether times are UTC. Raises
    InvalidTaskError when it isn't one.
    """
    try:
        args, kwargs = body.get("args", ()), body.get("kwargs", {})
    except (KeyError, AttributeError) as exc:
        raise InvalidTaskError("Message does not have args/kwargs") from exc
    _require_mapping(kwargs)
    headers = {
        **body,
        "argsrepr": repr(args),
        "kwargsrepr": repr(kwargs),
        **(message.headers or {}),
    }
    for name in ("args", "kwargs", "callbacks", "errbacks", "chord", "utc"):
        headers.pop(name, None)
    if "taskset" in body and not headers.get("group"):
        headers["group"] = body["taskset"]
    embed = {
        "callbacks": body.get("callbacks"),
        "errbacks": body.get("errbacks"),
        "chord": body.get("chord"),
        "chain": None,
    }
    return (args, kwargs, embed), headers, True, body.get("utc", True)


def _disallowed(content_type: Any) -> ContentDisallowed:
    """Return the error that decoding this content would raise, in the words of kombu."""
    name = registry.type_to_name.get(content_type, content_type)
    return ContentDisallowed(
        f"Refusing to deserialize untrusted content of type {name} ({content_type})"
    )


def _require_mapping(kwargs: Any) -> None:
    if not isinstance(kwargs, Mapping):
        raise InvalidTaskError(
            f"Task keyword arguments must be a mapping, not {type(kwargs).__name__}"
        )


def default(
    task: Any,
    app: Any,
    consumer: Any,
    info: Any = logger.info,
    error: Any = logger.error,
    task_reserved: Any = state.task_reserved,
    to_system_tz: Any = None,
    bytes: Any = bytes,
    proto1_to_proto2: Any = proto1_to_proto2,
) -> Callable[..., None]:
    """Return the function that handles the messages of one task.

    - task: the registered task; app: the worker's app; consumer: the worker's consumer.

    The function takes the message, its body when it was decoded already, functions that
    acknowledge and reject it, and callbacks to call with the request.
    """
    hostname = consumer.hostname
    connection_errors = consumer.connection_errors
    eventer = consumer.event_dispatcher
    make_request = create_request_cls(
        symbol_by_name(task.Request) if task.Request else Request,
        task,
        consumer.pool,
        hostname,
        eventer,
        app=app,
    )
    accept = prepare_accept_content(app.conf.accept_content)
    send_to_pool = consumer.on_task_request
    buckets = consumer.task_buckets
    task_name = task.name
    received = signals.task_received
    revoked_ids, revoked_stamps = state.revoked, state.revoked_stamps
    log_received = logger.isEnabledFor(logging.INFO)
    limit = delivery_limit(app, task)
    early_acks = None if task.acks_late else consumer.early_acks

    def handle(
        message: Any,
        body: Any,
        ack: Callable[..., Any],
        reject: Callable[..., Any],
        callbacks: Any,
    ) -> None:
        if body is None:
            headers, decoded, utc = message.headers, False, True
            if message.content_type not in accept and accept is not None:
                raise _disallowed(message.content_type)
        else:
            body, headers, decoded, utc = proto1_to_proto2(message, body)
        limits = headers.get("timelimit")
        if limits and limits != NO_LIMITS:
            _check_time_limits(limits)
        shadow = headers.get("shadow")
        if shadow is not None and not isinstance(shadow, str):
            raise InvalidTaskError(f"the shadow name must be text, not {shadow!r}")
        if early_acks is not None:
            if _started_before(early_acks, message):
                ack(logger, connection_errors)
                return
            ack = early_acks.remembering(message, ack)
        request = make_request(
            message,
            on_ack=ack,
            on_reject=reject,
            app=app,
            hostname=hostname,
            eventer=eventer,
            task=task,
            connection_errors=connection_errors,
            body=body,
            headers=headers,
            decoded=decoded,
            utc=utc,
        )
        if log_received:
            info(
                "Task %(name)s[%(id)s] received",
                {"name": request.name, "id": request.id},
                extra={"data": {"name": request.name, "id": request.id, **_reprs(headers)}},
            )
        if (
            revoked_ids or revoked_stamps or headers.get("expires") is not None
        ) and request.revoked():
            return
        if (
            limit is not None
            and message.delivery_info.get("redelivered")
            and not limit.admits(request)
        ):
            return
        if received.receivers:
            received.send(sender=consumer, request=request)
        if eventer is not None and task.send_events and eventer.takes("task"):
            _send_received(request, headers)
        if headers.get("eta"):
            _hold_for_eta(consumer, request)
            return
        bucket = buckets[task_name]
        if bucket is not None:
            consumer._limit_task(request, bucket, 1)
            return
        task_reserved(request)
        if callbacks:
            _tell(callbacks, request)
        send_to_pool(request)

    return handle


def _tell(callbacks: Any, request: Any) -> None:
    """Call what extensions want called with each request; none of them may cost the task."""
    for callback in callbacks:
        try:
            callback(request)
        except Exception:
            logger.exception("%r failed with %s, which runs all the same", callback, request)


def _started_before(early_acks: Any, message: Any) -> bool:
    """Tell whether a message has come again because its acknowledgement was lost."""
    if not message.delivery_info.get("redelivered") or not early_acks.has_started(message):
        return False
    headers = message.headers or {}
    logger.info(
        "Task %s[%s] was delivered again, because its acknowledgement was lost with the "
        "connection. It has started already: acknowledged and not run again.",
        headers.get("task"),
        headers.get("id"),
    )
    return True


def _check_time_limits(limits: Any) -> None:
    """Raise InvalidTaskError unless these are a hard and a soft limit in seconds, or None."""
    fits = isinstance(limits, list | tuple) and len(limits) == 2
    if not fits or not all(
        limit is None or (isinstance(limit, int | float) and math.isfinite(limit))
        for limit in limits
    ):
        raise InvalidTaskError(f"time limits must be two numbers of seconds, not {limits!r}")


def _reprs(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "eta": headers.get("eta"),
    }


def _send_received(request: Any, headers: Mapping[str, Any]) -> None:
    request.send_event(
        "task-received",
        name=request.name,
        args=request.argsrepr,
        kwargs=request.kwargsrepr,
        root_id=request.root_id,
        parent_id=request.parent_id,
        retries=headers.get("retries", 0),
        eta=headers.get("eta"),
        expires=headers.get("expires"),
    )


def _hold_for_eta(consumer: Any, request: Any) -> None:
    """Keep a request until its ETA; give far ones back to a broker that can keep them."""
    eta = request.eta
    try:
        due = eta.timestamp()
    except (OverflowError, ValueError) as exc:
        raise InvalidTaskError(f"invalid eta value {eta!r}: {exc}") from exc
    wait = due - time.time()
    if wait > consumer.defer_eta and getattr(request.message.channel, "can_defer", False):
        # The broker holds it until then: it costs no memory here and survives us.
        request.message.channel.defer(request.message.delivery_tag, due)
        request.acknowledged = True
        return
    consumer.hold_until(due, request)
