"""What is known of a task before it runs, and the steps around its body that every tracer takes.

A plan is made once per task and process, so that an execution pays only for the features the task
uses. `Tracer` runs plain functions on it, `CoroutineTracer` coroutines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from billiard.einfo import ExceptionInfo
from kombu.utils.encoding import safe_repr

from taskq import signals, states
from taskq.app.context import Context
from taskq.app.task import Task as BaseTask
from taskq.app.trace.failures import TraceInfo, get_actual_ignore_result, traceback_clear
from taskq.app.trace.links import send_links
from taskq.app.trace.outcome import IGNORED, REJECTED, RETRY
from taskq.app.trace.policy import LOG_IGNORED, LOG_SUCCESS, get_task_name
from taskq.backends.ahead import ahead
from taskq.exceptions import BackendGetMetaError, Ignore, Reject, Retry
from taskq.result import AsyncResult
from taskq.utils.coroutines import run_coroutine
from taskq.utils.log import get_logger
from taskq.utils.nodenames import gethostname
from taskq.utils.objects import mro_lookup

logger = get_logger("celery.app.trace")
info = logger.info

SUCCESS = states.SUCCESS
FAILURE = states.FAILURE

send_success = signals.task_success.send


class Plan:
    """A task, what of it is out of the ordinary, and the steps of its executions.

    - name, task, app: whose executions these are.
    - loader: the app's by default.
    - hostname: node name of the worker.
    - eager: the task runs in the caller, not in a worker.
    - propagate: raise what the task raises.
    - Info: class of what stands for an execution that did not succeed.
    """

    __slots__ = (
        "Info",
        "after_return",
        "app",
        "before_start",
        "deduplicate",
        "eager",
        "fun",
        "has_custom_call",
        "hostname",
        "loader_cleanup",
        "loader_init",
        "name",
        "on_success",
        "propagate",
        "resultrepr_maxsize",
        "stores_ahead",
        "task",
        "track_started",
    )

    #: Whether executions take the thread they are called in until they end.
    blocking = True

    def __init__(
        self,
        name: str,
        task: Any,
        *,
        app: Any,
        loader: Any = None,
        hostname: str | None = None,
        eager: bool = False,
        propagate: bool = False,
        Info: type[TraceInfo] = TraceInfo,  # noqa: N803 - the public name
    ) -> None:
        loader = loader or app.loader
        self.name = name
        self.task = task
        self.app = app
        self.eager = eager
        self.propagate = propagate
        self.Info = Info
        self.hostname = hostname or gethostname()
        # A task with a __call__ of its own is called through it, others go straight to run.
        self.has_custom_call = task_has_custom(task, "__call__")
        fun: Callable[..., Any] = task if self.has_custom_call else task.run
        self.fun = coroutine_body(task, fun) if self.blocking and task.is_coroutine else fun
        self.track_started = task.track_started and not eager
        self.loader_init = _unless_default(loader, "on_task_init")
        self.loader_cleanup = _unless_default(loader, "on_process_cleanup")
        self.before_start = _custom_handler(task, "before_start")
        self.on_success = _custom_handler(task, "on_success")
        self.after_return = _custom_handler(task, "after_return")
        self.resultrepr_maxsize = task.resultrepr_maxsize
        self.deduplicate = (
            not eager
            and task.acks_late
            and app.conf.worker_deduplicate_successful_tasks
            and task.backend.persistent
        )

        #: Nothing of the task's looks at its result before the pool is told about it.
        self.stores_ahead = not (
            eager or self.on_success or self.after_return or self.loader_cleanup
        )

    @property
    def backend(self) -> Any:
        """The task's result backend, made when it is first needed."""
        return self.task.backend

    def on_raised(self, request: Context, exc: Exception) -> tuple[TraceInfo, Any]:
        """Store, log and announce what the body raised. Called while it is being handled.

        Returns what it means for the task, and its ExceptionInfo.
        """
        if isinstance(exc, Reject):
            failure, einfo = self.Info(REJECTED, exc), ExceptionInfo(internal=True)
            failure.handle_reject(self.task, request)
            return failure, einfo
        if isinstance(exc, Ignore):
            failure, einfo = self.Info(IGNORED, exc), ExceptionInfo(internal=True)
            failure.handle_ignore(self.task, request)
            return failure, einfo
        if isinstance(exc, Retry):
            try:
                return self.on_error(request, exc, RETRY, call_errbacks=False)
            except Reject as unsent:
                return self.on_raised(request, unsent)
        failed = self.on_error(request, exc)
        traceback_clear(exc)
        return failed

    def on_error(
        self,
        request: Context,
        exc: BaseException,
        state: str = FAILURE,
        *,
        call_errbacks: bool = True,
    ) -> tuple[TraceInfo, Any]:
        """Store, log and announce a retry or a failure; raise it when it is to propagate."""
        if self.propagate:
            raise exc
        failure = self.Info(state, exc)
        einfo = failure.handle_error_state(
            self.task, request, eager=self.eager, call_errbacks=call_errbacks
        )
        return failure, einfo

    def on_returned(self, uuid: str, retval: Any, request: Context) -> None:
        """Send what follows the task, then store its result.

        In that order: the result names the tasks that were sent as its children.
        """
        if request.callbacks or request.chain:
            send_links(self.app, uuid, retval, request)
        if self.stores_ahead and ahead.allowed and self._stored_ahead(uuid, retval, request):
            return
        task = self.task
        store = not get_actual_ignore_result(task, request) and (
            not self.eager or bool(task.store_eager_result)
        )
        if store or request.chord is not None:
            self.backend.mark_as_done(uuid, retval, request, store)

    def _stored_ahead(self, uuid: str, retval: Any, request: Context) -> bool:
        """Send the result without waiting; False if that must not or can't be."""
        return (
            request.chord is None
            # Receivers may look at the result, which is to be stored then.
            and not signals.task_success.receivers
            and not signals.task_postrun.receivers
            and not get_actual_ignore_result(self.task, request)
            and self.backend.store_ahead(uuid, retval, request)
        )

    def succeeded(
        self,
        uuid: str,
        args: Any,
        kwargs: Any,
        retval: Any,
        request: Context,
        runtime: float,
        retstr: str,
    ) -> None:
        """Call ``on_success``, send ``task_success``, and log it."""
        if self.on_success is not None:
            self.on_success(retval, uuid, args, kwargs)
        if signals.task_success.receivers:
            send_success(sender=self.task, result=retval, runtime=runtime)
        if logger.isEnabledFor(logging.INFO):
            context = {
                "id": uuid,
                "name": get_task_name(request, self.name),
                "return_value": retstr,
                "runtime": runtime,
                "args": request.get("argsrepr") or safe_repr(args),
                "kwargs": request.get("kwargsrepr") or safe_repr(kwargs),
            }
            info(LOG_SUCCESS, context, extra={"data": context})

    def done_before(self, uuid: str, request: Context) -> bool:
        """Return whether a redelivered message's task is known to have succeeded.

        Its worker may have died before it could count it in its chord: that is done now.
        """
        if not (request.delivery_info or {}).get("redelivered"):
            return False
        result: Any = AsyncResult(uuid, app=self.app)
        try:
            done = result.state == SUCCESS
            if done and request.chord is not None:
                self.backend.on_chord_part_return(request, SUCCESS, result.result)
        except BackendGetMetaError:
            return False
        if done:
            info(
                LOG_IGNORED,
                {
                    "id": uuid,
                    "name": get_task_name(request, self.name),
                    "description": "Task already completed successfully.",
                },
            )
        return bool(done)

    def clean_up(self) -> None:
        """Call the loader's hook after an execution."""
        assert self.loader_cleanup is not None
        try:
            self.backend.process_cleanup()
            self.loader_cleanup()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except Exception as exc:
            logger.error("Process cleanup failed: %r", exc, exc_info=True)


def task_has_custom(task: Any, attr: str) -> bool:
    """Return whether the task overrides this method of Task."""
    return bool(
        mro_lookup(task.__class__, attr, stop={BaseTask, object}, monkey_patched=["taskq.app.task"])
    )


def coroutine_body(task: Any, fun: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs the coroutine that a function makes, to its end."""
    # Imported by the first coroutine task: it brings asyncio along.
    from taskq.app.trace.body import CoroutineBody

    return CoroutineBody(task, fun)


def _custom_handler(task: Any, name: str) -> Callable[..., Any] | None:
    """Return the task's handler as a plain function, None when it is Task's, which does nothing."""
    if not task_has_custom(task, name):
        return None
    handler: Callable[..., Any] = getattr(task, name)
    if not iscoroutinefunction(handler):
        return handler

    def run_handler(*args: Any) -> Any:
        return run_coroutine(handler(*args))

    return run_handler


def _unless_default(loader: Any, method: str) -> Callable[..., Any] | None:
    """Return the loader's hook, None when it is the base class's, which does nothing."""
    for cls in type(loader).__mro__:
        if method in vars(cls):
            if cls.__module__ == "taskq.loaders.base":
                return None
            hook: Callable[..., Any] = getattr(loader, method)
            return hook
    return None
