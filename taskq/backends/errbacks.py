"""Calling the error callbacks of a failed task.

Used by `mark_as_failure` and when a chord fails.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

from taskq.backends.once import sending_once
from taskq.utils.imports import symbol_by_name

__all__ = ("call_errbacks", "make_request", "takes_request")

logger = logging.getLogger(__name__)

#: Kinds of `inspect` parameters that positional arguments fill.
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def make_request(task_id: str | None, call: Any, errbacks: Iterable[Any] | None) -> Any:
    """Return a request for a call (a signature) that never ran, to call its errbacks with."""
    context = symbol_by_name("taskq.app.task:Context")
    return context(
        id=task_id,
        task=call.task,
        args=list(call.args or ()),
        kwargs=dict(call.kwargs or {}),
        errbacks=list(errbacks or ()),
        delivery_info={},
    )


def call_errbacks(
    app: Any, request: Any, exc: BaseException, traceback: Any, *, once: int | None = None
) -> None:
    """Call the errbacks in `request.errbacks`.

    Those that take ``(request, exc, traceback)`` and are registered here are called here and now;
    the others are sent with the id of the failed task as argument.

    Parameters:
        app: the app they are of.
        request: that of the failed task.
        exc: what it raised.
        traceback: text.
        once: seconds for which the broker is to remember those that were sent, so that they are
            not sent again if this is called again.
    """
    to_send = []
    for errback in request.errbacks or ():
        signature = app.signature(errback)
        if not signature._app:
            signature._app = app
        if takes_request(app, signature):
            call_errback(signature, request, exc, traceback)
        else:
            to_send.append(signature)
    if to_send:
        send_errbacks(app, to_send, request, once)


def takes_request(app: Any, signature: Any) -> bool:
    """Tell whether an errback is registered here and takes ``(request, exc, traceback)``."""
    if signature.task not in app.tasks or signature.get("subtask_type"):
        return False
    task = app.tasks[signature.task]
    given = () if signature.immutable else signature.args
    if _is_bound(task):
        # One that can do with the id is sent: it has a request of its own then, and can retry.
        return needed_positions(task.run, given, signature.kwargs) > 1
    return free_positions(task.run, given, signature.kwargs) > 1


def _is_bound(task: Any) -> bool:
    """Tell whether a task is a function that was decorated with ``bind=True``."""
    if not getattr(task, "_decorated", False):
        return False
    return not isinstance(inspect.getattr_static(type(task), "run", None), staticmethod)


def free_positions(fun: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> float:
    """Return how many positional arguments `fun` takes besides `args` and `kwargs`."""
    parameters = inspect.signature(fun).parameters.values()
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return float("inf")
    positional = [each.name for each in parameters if each.kind in POSITIONAL]
    return sum(name not in kwargs for name in positional) - len(tuple(args))


def needed_positions(fun: Callable[..., Any], args: Iterable[Any], kwargs: dict[str, Any]) -> int:
    """Return how many positional arguments `fun` needs besides `args` and `kwargs`."""
    needed = [
        each.name
        for each in inspect.signature(fun).parameters.values()
        if each.kind in POSITIONAL and each.default is inspect.Parameter.empty
    ]
    return sum(name not in kwargs for name in needed) - len(tuple(args))


def call_errback(signature: Any, request: Any, exc: BaseException, traceback: Any) -> None:
    """Call one errback; what it raises is logged, for the task has failed already."""
    try:
        signature(request, exc, traceback)
    except Exception:
        logger.exception(
            "Error callback %s of task %s[%s] failed",
            signature.task,
            getattr(request, "task", None),
            request.id,
        )


def send_errbacks(app: Any, signatures: list[Any], request: Any, once: int | None) -> None:
    """Send errbacks that take the id of the failed task; run them here in eager mode."""
    group = symbol_by_name("taskq.canvas:group")(signatures, app=app)
    lineage = {"parent_id": request.id, "root_id": getattr(request, "root_id", None) or request.id}
    is_eager = (getattr(request, "delivery_info", None) or {}).get("is_eager", False)
    if app.conf.task_always_eager or is_eager:
        group.apply((request.id,), **lineage)
    elif once is None:
        group.apply_async((request.id,), **lineage)
    else:
        with sending_once(app, once) as producer:
            group.apply_async((request.id,), producer=producer, **lineage)
