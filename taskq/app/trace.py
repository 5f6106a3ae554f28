"""Tracing: running one task with everything around it, and turning what happens into a state.

Workers' children call `execute_task` with what the main process received; ``Task.apply`` builds
an eager tracer. The life of an execution, in order: request made, ``task_prerun``, STARTED,
``before_start``, the task's body, then one of success (links, chain, result stored,
``on_success``), retry, failure, ignore, reject; ``after_return``, ``task_postrun``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from warnings import warn

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import loads as loads_message
from kombu.serialization import prepare_accept_content
from kombu.utils.encoding import safe_repr, safe_str

from taskq import signals, states
from taskq._state import _task_stack, current_app
from taskq.app.context import Context
from taskq.app.task import Task as BaseTask
from taskq.canvas import group, signature
from taskq.exceptions import (
    BackendGetMetaError,
    Ignore,
    InvalidTaskError,
    Reject,
    Retry,
)
from taskq.result import AsyncResult
from taskq.utils.log import get_logger
from taskq.utils.nodenames import gethostname
from taskq.utils.objects import mro_lookup
from taskq.utils.saferepr import saferepr
from taskq.utils.serialization import (
    get_pickleable_etype,
    get_pickleable_exception,
    get_pickled_exception,
)

__all__ = (
    "AsyncResult",
    "BackendGetMetaError",
    "Context",
    "EncodeError",
    "ExceptionInfo",
    "Ignore",
    "InvalidTaskError",
    "OperationalError",
    "Outcome",
    "Reject",
    "Retry",
    "TraceInfo",
    "build_tracer",
    "execute_task",
    "gethostname",
    "get_log_policy",
    "get_pickled_exception",
    "get_task_name",
    "group",
    "report_internal_error",
    "reset_worker_optimizations",
    "safe_repr",
    "setup_worker_optimizations",
    "trace_ok_t",
    "trace_task",
)

logger = get_logger("celery.app.trace")
info = logger.info

LOG_RECEIVED = "Task %(name)s[%(id)s] received"
LOG_SUCCESS = "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s"
LOG_FAILURE = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_INTERNAL_ERROR = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
LOG_IGNORED = "Task %(name)s[%(id)s] %(description)s"
LOG_REJECTED = "Task %(name)s[%(id)s] %(exc)s"
LOG_RETRY = "Task %(name)s[%(id)s] retry: %(exc)s"


class log_policy_t(NamedTuple):  # noqa: N801 - the public name
    """How an outcome is logged."""

    format: str
    description: str
    severity: int
    traceback: int
    mail: int


log_policy_reject = log_policy_t(LOG_REJECTED, "rejected", logging.WARNING, 1, 1)
log_policy_ignore = log_policy_t(LOG_IGNORED, "ignored", logging.INFO, 0, 0)
log_policy_internal = log_policy_t(LOG_INTERNAL_ERROR, "INTERNAL ERROR", logging.CRITICAL, 1, 1)
log_policy_expected = log_policy_t(LOG_FAILURE, "raised expected", logging.INFO, 0, 0)
log_policy_unexpected = log_policy_t(LOG_FAILURE, "raised unexpected", logging.ERROR, 1, 1)

send_prerun = signals.task_prerun.send
send_postrun = signals.task_postrun.send
send_success = signals.task_success.send
STARTED = states.STARTED
SUCCESS = states.SUCCESS
FAILURE = states.FAILURE
IGNORED = states.IGNORED
REJECTED = states.REJECTED
RETRY = states.RETRY
IGNORE_STATES = frozenset({IGNORED, RETRY, REJECTED})
EXCEPTION_STATES = states.EXCEPTION_STATES


class trace_ok_t(NamedTuple):  # noqa: N801 - the public name
    """What a tracer returns.

    - retval: return value or ExceptionInfo.
    - info: TraceInfo when the task did not succeed, else None.
    - runtime: seconds.
    - retstr: representation of the return value.
    """

    retval: Any
    info: Any
    runtime: float
    retstr: str | None


#: Kinds of `Outcome`.
OK, FAILED, RETRIED, IGNORE, REJECT = range(5)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the main process learns about an execution.

    - kind: OK, FAILED, RETRIED, IGNORE or REJECT.
    - value: OK: representation of the return value; else the ExceptionInfo.
    - runtime: seconds.
    """

    kind: int
    value: Any
    runtime: float


def get_log_policy(task: Any, einfo: Any, exc: BaseException) -> log_policy_t:
    """Return how to log this exception of this task."""
    if isinstance(exc, Reject):
        return log_policy_reject
    if isinstance(exc, Ignore):
        return log_policy_ignore
    if einfo.internal:
        return log_policy_internal
    if task.throws and isinstance(exc, task.throws):
        return log_policy_expected
    return log_policy_unexpected


def get_task_name(request: Any, default: str) -> str:
    """Return the name to show for a request: its shadow, or the task's name."""
    return getattr(request, "shadow", None) or default


def task_has_custom(task: Any, attr: str) -> bool:
    """Return whether the task overrides this method of Task."""
    return bool(
        mro_lookup(task.__class__, attr, stop={BaseTask, object}, monkey_patched=["taskq.app.task"])
    )


def get_actual_ignore_result(task: Any, req: Any) -> bool:
    """Return whether results are ignored: the call's choice, else the task's."""
    ignore = req.ignore_result if req is not None else None
    return bool(task.ignore_result if ignore is None else ignore)


def traceback_clear(exc: BaseException | None = None) -> None:
    """Clear the frames of a traceback, so that what they hold can be freed."""
    tb = exc.__traceback__ if exc is not None else sys.exc_info()[2]
    while tb is not None:
        try:
            tb.tb_frame.clear()
        except RuntimeError:
            # The frame still runs.
            tb = tb.tb_next
            continue
        tb = tb.tb_next


def _original(exc: Any) -> Any:
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


class TraceInfo:
    """State and value of a task that did not succeed, and what to do about it."""

    __slots__ = ("retval", "state")

    def __init__(self, state: str, retval: Any = None) -> None:
        self.state = state
        self.retval = retval

    def handle_error_state(
        self, task: Any, req: Any, eager: bool = False, call_errbacks: bool = True
    ) -> Any:
        """Store, log and announce a retry or a failure. Returns the ExceptionInfo."""
        if get_actual_ignore_result(task, req):
            store_errors = bool(task.store_errors_even_if_ignored)
        elif eager and not task.store_eager_result:
            store_errors = False
        else:
            store_errors = True
        handler = self.handle_retry if self.state == RETRY else self.handle_failure
        return handler(task, req, store_errors=store_errors, call_errbacks=call_errbacks)

    def handle_reject(self, task: Any, req: Any, **kwargs: Any) -> None:
        """Log a rejection."""
        self._log_error(task, req, ExceptionInfo())

    def handle_ignore(self, task: Any, req: Any, **kwargs: Any) -> None:
        """Log that the task is ignored."""
        self._log_error(task, req, ExceptionInfo())

    def handle_retry(self, task: Any, req: Any, store_errors: bool = True, **kwargs: Any) -> Any:
        """Store state RETRY, call ``on_retry``, send ``task_retry``. Returns ExceptionInfo."""
        type_, _, tb = sys.exc_info()
        reason = self.retval
        einfo = ExceptionInfo((type_, reason, tb))
        if store_errors:
            task.backend.mark_as_retry(req.id, reason.exc, einfo.traceback, request=req)
        task.on_retry(reason.exc, req.id, req.args, req.kwargs, einfo)
        if signals.task_retry.receivers:
            signals.task_retry.send(sender=task, request=req, reason=reason, einfo=einfo)
        info(
            LOG_RETRY,
            {"id": req.id, "name": get_task_name(req, task.name), "exc": str(reason)},
        )
        # The signature was sent already, and its app can't be pickled to the main process.
        reason.sig = None if not req.is_eager else reason.sig
        return einfo

    def handle_failure(
        self, task: Any, req: Any, store_errors: bool = True, call_errbacks: bool = True
    ) -> Any:
        """Store state FAILURE, call errbacks and ``on_failure``, send ``task_failure``."""
        orig_exc = self.retval
        exc = get_pickleable_exception(orig_exc)
        if exc.__traceback__ is None:
            # The copy that can be pickled has lost it.
            _, _, exc.__traceback__ = sys.exc_info()
        type_ = get_pickleable_etype(type(orig_exc))
        # The traceback starts where the task was called, not in this module.
        einfo = ExceptionInfo(exc_info=(type_, exc, exc.__traceback__))
        task.backend.mark_as_failure(
            req.id,
            orig_exc,
            einfo.traceback,
            request=req,
            store_result=store_errors,
            call_errbacks=call_errbacks,
        )
        task.on_failure(exc, req.id, req.args, req.kwargs, einfo)
        if signals.task_failure.receivers:
            signals.task_failure.send(
                sender=task,
                task_id=req.id,
                exception=exc,
                args=req.args,
                kwargs=req.kwargs,
                traceback=exc.__traceback__,
                einfo=einfo,
            )
        self._log_error(task, req, einfo)
        return einfo

    def _log_error(self, task: Any, req: Any, einfo: Any) -> None:
        eobj = einfo.exception = _original(einfo.exception)
        policy = get_log_policy(task, einfo, eobj)
        context = {
            "hostname": req.hostname,
            "id": req.id,
            "name": get_task_name(req, task.name),
            "exc": safe_repr(eobj),
            "traceback": safe_str(einfo.traceback),
            "args": req.get("argsrepr") or safe_repr(req.args),
            "kwargs": req.get("kwargsrepr") or safe_repr(req.kwargs),
            "description": policy.description,
            "internal": einfo.internal,
        }
        logger.log(
            policy.severity,
            policy.format.strip(),
            context,
            exc_info=(einfo.type, eobj, eobj.__traceback__) if policy.traceback else None,
            extra={"data": context},
        )


class _UserCode:
    """Whether the body of a task runs in this process right now."""

    running = False


_user_code = _UserCode()


def in_user_code() -> bool:
    """Return whether a task's own code runs: only that may be interrupted by a time limit.

    For pools whose processes run one task at a time.
    """
    return _user_code.running


class Tracer:
    """Runs one task; made once per task and process.

    What a call needs to know about the task is looked up here, so that an execution pays only
    for the features the task uses.
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
        "store_errors",
        "task",
        "track_started",
    )

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
        Info: type[TraceInfo] = TraceInfo,  # noqa: N803
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
        self.fun: Callable[..., Any] = task if self.has_custom_call else task.run
        self.track_started = task.track_started and not eager
        self.loader_init = _unless_default(loader, "on_task_init")
        self.loader_cleanup = _unless_default(loader, "on_process_cleanup")
        self.before_start = task.before_start if task_has_custom(task, "before_start") else None
        self.on_success = task.on_success if task_has_custom(task, "on_success") else None
        self.after_return = task.after_return if task_has_custom(task, "after_return") else None
        self.resultrepr_maxsize = task.resultrepr_maxsize
        self.deduplicate = (
            not eager
            and task.acks_late
            and app.conf.worker_deduplicate_successful_tasks
            and task.backend.persistent
        )

    @property
    def backend(self) -> Any:
        """The task's result backend, made when it is first needed."""
        return self.task.backend

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
                if self.deduplicate and self._done_before(uuid, task_request):
                    return trace_ok_t(None, None, 0.0, None)
                return self._run(uuid, args, kwargs, task_request, started)
            finally:
                task.request_stack.pop()
                _task_stack.pop()
                if self.loader_cleanup is not None and not self.eager:
                    self._cleanup()
        except MemoryError:
            raise
        except Exception as exc:
            _signal_internal_error(task, uuid, args, kwargs, request, exc)
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
                _user_code.running = True
                try:
                    retval = self.fun(*args, **kwargs)
                finally:
                    _user_code.running = False
            except Reject as exc:
                failure, einfo = self.Info(REJECTED, exc), ExceptionInfo(internal=True)
                failure.handle_reject(task, request)
            except Ignore as exc:
                failure, einfo = self.Info(IGNORED, exc), ExceptionInfo(internal=True)
                failure.handle_ignore(task, request)
            except Retry as exc:
                failure, einfo = self._on_error(request, exc, RETRY, call_errbacks=False)
            except Exception as exc:
                failure, einfo = self._on_error(request, exc)
                traceback_clear(exc)
            else:
                try:
                    self._on_returned(uuid, retval, request)
                except EncodeError as exc:
                    failure, einfo = self._on_error(request, exc)
            runtime = time.monotonic() - started
            if failure is None:
                retstr = saferepr(retval, self.resultrepr_maxsize)
                self._succeeded(uuid, args, kwargs, retval, request, runtime, retstr)
            else:
                # After a failure the handlers get the exception, as states do.
                state, retval = failure.state, failure.retval
            if self.after_return is not None and state not in IGNORE_STATES:
                self.after_return(state, retval, uuid, args, kwargs, einfo)
        finally:
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

    def _on_error(
        self,
        request: Context,
        exc: BaseException,
        state: str = FAILURE,
        *,
        call_errbacks: bool = True,
    ) -> tuple[TraceInfo, Any]:
        if self.propagate:
            raise exc
        failure = self.Info(state, exc)
        einfo = failure.handle_error_state(
            self.task, request, eager=self.eager, call_errbacks=call_errbacks
        )
        return failure, einfo

    def _on_returned(self, uuid: str, retval: Any, request: Context) -> None:
        """Send what follows the task, then store its result.

        In that order: the result names the tasks that were sent as its children.
        """
        if request.callbacks or request.chain:
            root_id = request.root_id or uuid
            priority = None
            if self.app.conf.task_inherit_parent_priority and request.delivery_info:
                priority = request.delivery_info.get("priority")
            self._send_callbacks(uuid, retval, request, root_id, priority)
            self._continue_chain(uuid, retval, request, root_id, priority)
        task = self.task
        store = not get_actual_ignore_result(task, request) and (
            not self.eager or bool(task.store_eager_result)
        )
        if store or request.chord is not None:
            self.backend.mark_as_done(uuid, retval, request, store)

    def _send_callbacks(
        self, uuid: str, retval: Any, request: Context, root_id: str, priority: Any
    ) -> None:
        for callback in request.callbacks or ():
            sig = signature(callback, app=self.app)
            sig.apply_async((retval,), **_lineage(uuid, root_id, priority))

    def _continue_chain(
        self, uuid: str, retval: Any, request: Context, root_id: str, priority: Any
    ) -> None:
        """Send the next task of the chain, with what remains of it (a reversed list)."""
        if not request.chain:
            return
        remaining = list(request.chain)
        sig = signature(remaining.pop(), app=self.app)
        sig.apply_async((retval,), chain=remaining, **_lineage(uuid, root_id, priority))

    def _succeeded(
        self,
        uuid: str,
        args: Any,
        kwargs: Any,
        retval: Any,
        request: Context,
        runtime: float,
        retstr: str,
    ) -> None:
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

    def _done_before(self, uuid: str, request: Context) -> bool:
        """Return whether a redelivered message's task is known to have succeeded."""
        if not (request.delivery_info or {}).get("redelivered"):
            return False
        try:
            done = AsyncResult(uuid, app=self.app).state == SUCCESS
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

    def _cleanup(self) -> None:
        assert self.loader_cleanup is not None
        try:
            self.backend.process_cleanup()
            self.loader_cleanup()
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except Exception as exc:
            logger.error("Process cleanup failed: %r", exc, exc_info=True)


def _lineage(parent_id: str, root_id: str, priority: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"parent_id": parent_id, "root_id": root_id}
    if priority is not None:
        options["priority"] = priority
    return options


def _unless_default(loader: Any, method: str) -> Callable[..., Any] | None:
    """Return the loader's hook, None when it is the base class's, which does nothing."""
    for cls in type(loader).__mro__:
        if method in vars(cls):
            if cls.__module__ == "taskq.loaders.base":
                return None
            hook: Callable[..., Any] = getattr(loader, method)
            return hook
    return None


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
        _signal_internal_error(task, uuid, args, kwargs, request, exc)
        return trace_ok_t(report_internal_error(task, exc), TraceInfo(FAILURE, exc), 0.0, None)


def _signal_internal_error(
    task: Any, uuid: str, args: Any, kwargs: Any, request: Any, exc: BaseException
) -> None:
    """Send ``task_internal_error``, whose receivers may do what they like with it."""
    tb = exc.__traceback__
    einfo = ExceptionInfo(exc_info=(type(exc), exc, tb))
    signals.task_internal_error.send(
        sender=task,
        task_id=uuid,
        args=args,
        kwargs=kwargs,
        request=request,
        exception=exc,
        traceback=tb,
        einfo=einfo,
    )


def report_internal_error(task: Any, exc: BaseException) -> Any:
    """Warn of an error in the machinery around a task. Returns its ExceptionInfo."""
    _type, _value, _tb = sys.exc_info()
    value = task.backend.prepare_exception(exc, "pickle")
    einfo = ExceptionInfo((type(exc), value, exc.__traceback__ or _tb), internal=True)
    warn(
        RuntimeWarning(f"Exception raised outside body: {exc!r}:\n{einfo.traceback}"), stacklevel=2
    )
    return einfo


# -- in a worker's child process


class _Worker:
    """What this process needs to execute the messages its main process hands over."""

    __slots__ = ("accept", "app", "hostname", "tasks", "tracers")

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self.tasks = app.tasks
        self.tracers: dict[str, Tracer] = {}
        self.accept = prepare_accept_content(app.conf.accept_content)

    def tracer_for(self, name: str) -> Tracer:
        """Return the tracer of a task, made on first use."""
        tracer = self.tracers.get(name)
        if tracer is None:
            task = self.tasks[name]
            tracer = self.tracers[name] = Tracer(name, task, app=self.app, hostname=self.hostname)
        return tracer


_worker: _Worker | None = None


def setup_worker_optimizations(app: Any, hostname: str | None = None) -> None:
    """Prepare this process to execute the tasks of one app.

    - hostname: node name of the worker, what tasks see as ``request.hostname``.
    """
    global _worker
    hostname = hostname or gethostname()
    app.set_current()
    app.set_default()
    app.finalize(auto=True)
    _worker = _Worker(app, hostname)


def reset_worker_optimizations(app: Any = current_app) -> None:
    """Undo `setup_worker_optimizations`."""
    global _worker
    _worker = None


def execute_task(payload: tuple[Any, ...]) -> Outcome:
    """Decode and run one message that the main process accepted.

    - payload: name, id, headers, body, content type, content encoding, delivery info, properties.

    Never raises for what a task or a message does; SystemExit and KeyboardInterrupt pass.
    """
    worker = _worker
    if worker is None:
        raise RuntimeError("execute_task needs setup_worker_optimizations(app) to be called first")
    name, task_id, headers, body, content_type, encoding, delivery_info, properties = payload
    tracer = worker.tracer_for(name)
    try:
        args, kwargs, embed = decode_body(body, content_type, encoding, worker.accept)
    except Exception as exc:
        return _undecodable(tracer, task_id, headers, exc)
    request = {
        **headers,
        **(embed or {}),
        "properties": properties,
        "reply_to": properties.get("reply_to"),
        "correlation_id": properties.get("correlation_id"),
        "hostname": worker.hostname,
        "delivery_info": delivery_info,
        "is_eager": False,
    }
    limits = headers.get("timelimit")
    if limits:
        request["time_limit"], request["soft_time_limit"] = limits
    retval, failure, runtime, retstr = tracer(task_id, args, kwargs, request)
    if failure is None:
        return Outcome(OK, retstr, runtime)
    return Outcome(_KINDS.get(failure.state, FAILED), retval, runtime)


_KINDS = {RETRY: RETRIED, IGNORED: IGNORE, REJECTED: REJECT}


def decode_body(body: Any, content_type: str, encoding: str, accept: Any) -> tuple[Any, Any, Any]:
    """Return args, kwargs and the embedded links of a protocol 2 body.

    Compressed bodies were decompressed when the message was received. A body that is a mapping
    is protocol 1's, under protocol 2's headers.

    Raises ContentDisallowed, DecodeError, or InvalidTaskError when it isn't such a body.
    """
    if isinstance(body, bytes | str | memoryview):
        body = loads_message(body, content_type, encoding, accept=accept)
    if isinstance(body, Mapping):
        embed = {name: body.get(name) for name in ("callbacks", "errbacks", "chain", "chord")}
        return body.get("args", ()), body.get("kwargs", {}), embed
    try:
        args, kwargs, embed = body
    except (TypeError, ValueError) as exc:
        raise InvalidTaskError(
            f"Task message body must be [args, kwargs, embed], not {type(body).__name__}"
        ) from exc
    return args, kwargs, embed


def _undecodable(
    tracer: Tracer, task_id: str, headers: Mapping[str, Any], exc: Exception
) -> Outcome:
    """A message whose body can't be read: fails visibly under its id."""
    request = Context(headers, args=(), kwargs={}, called_directly=False)
    failure = TraceInfo(FAILURE, exc)
    einfo = failure.handle_error_state(tracer.task, request)
    return Outcome(FAILED, einfo, 0.0)


def __getattr__(name: str) -> Any:
    if name == "successful_requests":
        # Kept by the worker's state, which knows more than this room.
        from kombu.utils.imports import symbol_by_name

        return symbol_by_name("taskq.worker.state:successful_requests")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
