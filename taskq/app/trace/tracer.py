"""The tracer of plain functions: runs one task with everything around it, in the caller's thread.

The life of an execution, in order: request made, ``task_prerun``, STARTED, ``before_start``, the
task's body, then one of success (links, chain, result stored, ``on_success``), retry, failure,
ignore, reject; ``after_return``, ``task_postrun``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any

from kombu.exceptions import EncodeError

from taskq import signals, states
from taskq._state import _task_stack
from taskq.app.context import Context
from taskq.app.task.retrying import send_retries
from taskq.app.trace.copies import HEADER, check_first
from taskq.app.trace.failures import (
    TraceInfo,
    get_actual_ignore_result,
    report_internal_error,
    signal_internal_error,
)
from taskq.app.trace.outcome import IGNORE_STATES, trace_ok_t
from taskq.app.trace.plan import Plan, coroutine_body
from taskq.app.trace.usercode import user_code
from taskq.exceptions import Ignore, InvalidTaskError
from taskq.utils.saferepr import saferepr

send_prerun = signals.task_prerun.send
send_postrun = signals.task_postrun.send
STARTED = states.STARTED
SUCCESS = states.SUCCESS
FAILURE = states.FAILURE


class Tracer(Plan):
    """Runs one task; made once per task and process."""

    __slots__ = ()

    def __call__(
        self, uuid: str, args: Any, kwargs: Any, request: Mapping[str, Any] | None = None
    ) -> trace_ok_t:
        """Run the task with id ``uuid``; never raises what the task raises, unless eager."""
        task = self.task
        started = time.monotonic()
        try:
            if not isinstance(kwargs, Mapping):
                raise InvalidTaskError("Task keyword arguments is not a mapping")
            task_request = Context(request or {}, args=args, called_directly=False, kwargs=kwargs)
            _task_stack.push(task)
            task.request_stack.push(task_request)
            try:
                if self.deduplicate and self.done_before(uuid, task_request):
                    return trace_ok_t(None, None, 0.0, None)
                if request and HEADER in request and not self.eager:
                    try:
                        check_first(self.app, uuid, request)
                    except Ignore as exc:
                        failure, einfo = self.on_raised(task_request, exc)
                        return trace_ok_t(einfo, failure, 0.0, None)
                return self._run(uuid, args, kwargs, task_request, started)
            finally:
                task.request_stack.pop()
                _task_stack.pop()
                if self.loader_cleanup is not None and not self.eager:
                    self.clean_up()
        except MemoryError:
            raise
        except Exception as exc:
            signal_internal_error(task, uuid, args, kwargs, request, exc)
            if self.eager:
                raise
            einfo = report_internal_error(task, exc)
            return trace_ok_t(einfo, self.Info(FAILURE, exc), time.monotonic() - started, None)

    def _run(
        self, uuid: str, args: Any, kwargs: Any, request: Context, started: float
    ) -> trace_ok_t:
        """The execution proper; the request is in place."""
        task = self.task
        failure = einfo = None
        retstr = None
        retval: Any = None
        state = SUCCESS
        if signals.task_prerun.receivers:
            send_prerun(sender=task, task_id=uuid, task=task, args=args, kwargs=kwargs)
        if self.loader_init is not None:
            self.loader_init(uuid, task)
        try:
            try:
                if self.track_started and not get_actual_ignore_result(task, request):
                    self.backend.store_result(
                        uuid,
                        {"pid": os.getpid(), "hostname": self.hostname},
                        STARTED,
                        request=request,
                    )
                if self.before_start is not None:
                    self.before_start(uuid, args, kwargs)
                if self.has_custom_call:
                    request._protected = 1
                request._traced = not self.eager
                user_code.running = True
                try:
                    retval = self.fun(*args, **kwargs)
                    if retval.__class__ is CoroutineType:
                        # A decorator that is no coroutine function hides one.
                        retval = coroutine_body(task, lambda made=retval: made)()
                finally:
                    user_code.running = False
            except Exception as exc:
                failure, einfo = self.on_raised(request, exc)
            else:
                try:
                    self.on_returned(uuid, retval, request)
                except EncodeError as exc:
                    failure, einfo = self.on_error(request, exc)
            runtime = time.monotonic() - started
            if failure is None:
                retstr = saferepr(retval, self.resultrepr_maxsize)
                self.succeeded(uuid, args, kwargs, retval, request, runtime, retstr)
            else:
                # After a failure the handlers get the exception, as states do.
                state, retval = failure.state, failure.retval
            if self.after_return is not None and state not in IGNORE_STATES:
                self.after_return(state, retval, uuid, args, kwargs, einfo)
        finally:
            if request._unsent_retries:
                # The task went on after it had asked for a retry.
                send_retries(request)
            if signals.task_postrun.receivers:
                send_postrun(
                    sender=task,
                    task_id=uuid,
                    task=task,
                    args=args,
                    kwargs=kwargs,
                    retval=retval,
                    state=state,
                )
        return trace_ok_t(retval if einfo is None else einfo, failure, runtime, retstr)


def build_tracer(
    name: str,
    task: Any,
    loader: Any = None,
    hostname: str | None = None,
    store_errors: bool = True,
    Info: type[TraceInfo] = TraceInfo,  # noqa: N803 - the public name
    eager: bool = False,
    propagate: bool = False,
    app: Any = None,
    monotonic: Any = time.monotonic,
    trace_ok_t: Any = trace_ok_t,
    IGNORE_STATES: Any = IGNORE_STATES,  # noqa: N803 - the public name
) -> Callable[..., trace_ok_t]:
    """Return a function ``(uuid, args, kwargs, request)`` that runs the task with its trappings.

    - name: the task's name.
    - eager: the task runs in the caller, not in a worker.
    - propagate: raise what the task raises.
    """
    return Tracer(
        name,
        task,
        app=app or task.app,
        loader=loader,
        hostname=hostname,
        eager=eager,
        propagate=propagate,
        Info=Info,
    )


def trace_task(
    task: Any, uuid: str, args: Any, kwargs: Any, request: Any = None, **opts: Any
) -> trace_ok_t:
    """Run a task as a worker does, with the tracer of the task made on first use."""
    request = request or {}
    try:
        tracer = getattr(task, "__trace__", None)
        if tracer is None:
            tracer = task.__trace__ = build_tracer(task.name, task, **opts)
        return tracer(uuid, args, kwargs, request)
    except Exception as exc:
        signal_internal_error(task, uuid, args, kwargs, request, exc)
        return trace_ok_t(report_internal_error(task, exc), TraceInfo(FAILURE, exc), 0.0, None)
