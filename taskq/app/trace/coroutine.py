"""The tracer of coroutines on a loop they share: nothing that blocks runs in the loop's thread.

The body is awaited here. What comes before and after it (signals, handlers, the result store, what
is sent next) are the steps every tracer takes, run in threads: `Unsettled` is an execution whose
body has ended and whose outcome is still to be stored.
"""

from __future__ import annotations

import os
import time
from asyncio import CancelledError, sleep
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context as ContextVariables
from contextvars import copy_context
from typing import Any

from kombu.exceptions import EncodeError

from taskq import signals, states
from taskq._state import _task_stack
from taskq.app.context import Context
from taskq.app.task.retrying import send_retries
from taskq.app.trace.copies import HEADER, check_first
from taskq.app.trace.failures import (
    get_actual_ignore_result,
    report_internal_error,
    signal_internal_error,
)
from taskq.app.trace.limits import limits_of
from taskq.app.trace.outcome import IGNORE_STATES, trace_ok_t
from taskq.app.trace.plan import Plan
from taskq.exceptions import Ignore, InvalidTaskError, TaskCancelledError
from taskq.utils.coroutines import is_coroutine
from taskq.utils.interruptible import run_limited
from taskq.utils.leaseclock import PATIENCE, PAUSE, LeaseClock, refuse
from taskq.utils.saferepr import saferepr

SUCCESS = states.SUCCESS
FAILURE = states.FAILURE
STARTED = states.STARTED

#: Runs a function in a thread, with the caller's context variables.
Offload = Callable[..., Awaitable[Any]]


def _never() -> bool:
    return False


def guarded(run: Callable[..., Any], name: str, clock: LeaseClock) -> Callable[..., Any]:
    """Return what `leaseclock.guarded` does for a coroutine: the loop goes on while it waits."""

    async def run_if_ours(*args: Any, **kwargs: Any) -> Any:
        token = clock.token()
        try:
            made = run(*args, **kwargs)
            value = await made if is_coroutine(made) else made
        except Exception:
            if not await _holds(clock, token, name):
                refuse(name)
            raise
        if not await _holds(clock, token, name):
            refuse(name)
        return value

    return run_if_ours


async def _holds(clock: LeaseClock, token: int, name: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while (known := clock.is_held(token, name, deadline)) is None:
        await sleep(PAUSE)
    return known


class CoroutineTracer(Plan):
    """Runs one coroutine task; made once per task and process."""

    __slots__ = ()

    blocking = False

    async def __call__(
        self,
        uuid: str,
        args: Any,
        kwargs: Any,
        request: Mapping[str, Any] | None,
        *,
        offload: Offload,
        soft: float | None = None,
        hard: float | None = None,
        on_soft: Callable[[float], None] | None = None,
        killed: Callable[[], bool] = _never,
    ) -> Unsettled:
        """Run the body of the task with id ``uuid``. To be awaited in an asyncio task of its own.

        - offload: for the steps before the body that may block.
        - soft, hard: the worker's default limits in seconds; on_soft: called when it is hit.
        - killed: whether a cancellation was asked for by whoever awaits this.

        Raises CancelledError when killed, HardLimitHit.
        """
        task, started = self.task, time.monotonic()
        execution = Unsettled(self, uuid, args, kwargs, request or {}, started)
        try:
            if not isinstance(kwargs, Mapping):
                raise InvalidTaskError("Task keyword arguments is not a mapping")
            task_request = execution.request = Context(
                request or {}, args=args, called_directly=False, kwargs=kwargs
            )
            _task_stack.push(task)
            task.request_stack.push(task_request)
            if self.deduplicate and (task_request.delivery_info or {}).get("redelivered"):
                execution.done_before = await offload(self.done_before, uuid, task_request)
                if execution.done_before:
                    return execution
            if request and HEADER in request and not self.eager:
                try:
                    await offload(check_first, self.app, uuid, request)
                except Ignore as exc:
                    execution.raised = exc
                    return execution
            if signals.task_prerun.receivers or self.loader_init is not None:
                await offload(self._announce, uuid, args, kwargs)
        except Exception as exc:
            execution.internal = exc
            return execution
        try:
            if self.before_start is not None or self.track_started:
                await offload(self._prepare, uuid, args, kwargs, task_request)
            if self.has_custom_call:
                task_request._protected = 1
            task_request._shares_loop = not self.eager
            made = self.fun(*args, **kwargs)
            soft, hard = limits_of(task, soft, hard)
            if not is_coroutine(made):
                execution.retval = made
            elif soft or hard:
                execution.retval = await run_limited(made, soft, hard, on_soft)
            else:
                execution.retval = await made
        except CancelledError as exc:
            if killed():
                raise
            execution.raised = TaskCancelledError(self.name).with_traceback(exc.__traceback__)
            execution.raised.__cause__ = exc
        except Exception as exc:
            execution.raised = exc
        execution.context = copy_context()
        return execution

    def _announce(self, uuid: str, args: Any, kwargs: Any) -> None:
        task = self.task
        signals.task_prerun.send(sender=task, task_id=uuid, task=task, args=args, kwargs=kwargs)
        if self.loader_init is not None:
            self.loader_init(uuid, task)

    def _prepare(self, uuid: str, args: Any, kwargs: Any, request: Context) -> None:
        if self.track_started and not get_actual_ignore_result(self.task, request):
            meta = {"pid": os.getpid(), "hostname": self.hostname}
            self.backend.store_result(uuid, meta, STARTED, request=request)
        if self.before_start is not None:
            self.before_start(uuid, args, kwargs)


class Unsettled:
    """An execution whose body has ended, and what it takes to settle it.

    - plan: of the task; uuid, args, kwargs, request: of the call; started: monotonic seconds.
    """

    __slots__ = (
        "args",
        "context",
        "done_before",
        "internal",
        "kwargs",
        "plan",
        "raised",
        "request",
        "retval",
        "started",
        "uuid",
    )

    def __init__(
        self, plan: Plan, uuid: str, args: Any, kwargs: Any, request: Any, started: float
    ) -> None:
        self.plan = plan
        self.uuid = uuid
        self.args = args
        self.kwargs = kwargs
        self.request = request
        self.started = started
        self.context: ContextVariables | None = None
        self.retval: Any = None
        #: What the body raised.
        self.raised: Exception | None = None
        #: What was raised around the body.
        self.internal: Exception | None = None
        #: The message was delivered again although its task had succeeded.
        self.done_before = False

    @property
    def is_plain(self) -> bool:
        """Whether all that is left is a result to store, or not even that: no user code runs."""
        plan, request = self.plan, self.request
        return (
            self.raised is None
            and self.internal is None
            and not self.done_before
            and not request._unsent_retries
            and plan.stores_ahead
            and not (request.callbacks or request.chain or request.chord)
            and not signals.task_success.receivers
            and not signals.task_postrun.receivers
        )

    @property
    def is_ignored(self) -> bool:
        """Whether the result is not to be stored."""
        return get_actual_ignore_result(self.plan.task, self.request)

    def settle(self) -> trace_ok_t:
        """Store the outcome and tell everybody, as the tracer of functions does. It may block."""
        if self.context is not None:
            return self.context.run(self._settle)
        return self._settle()

    def settle_plainly(self) -> trace_ok_t:
        """Settle a plain execution: its result is sent ahead where the store can do so.

        To be called in one thread only, which settles the ahead writers afterwards.
        """
        plan, retval = self.plan, self.retval
        try:
            if not self.is_ignored and not plan.backend.store_ahead(
                self.uuid, retval, self.request
            ):
                plan.backend.mark_as_done(self.uuid, retval, self.request, True)
        except Exception:
            # The usual way makes a failure of it.
            return self.settle()
        runtime = time.monotonic() - self.started
        retstr = saferepr(retval, plan.resultrepr_maxsize)
        plan.succeeded(self.uuid, self.args, self.kwargs, retval, self.request, runtime, retstr)
        return trace_ok_t(retval, None, runtime, retstr)

    def _settle(self) -> trace_ok_t:
        plan = self.plan
        if self.done_before:
            return trace_ok_t(None, None, 0.0, None)
        try:
            if self.internal is not None:
                raise self.internal
            try:
                return self._conclude()
            finally:
                if plan.loader_cleanup is not None and not plan.eager:
                    plan.clean_up()
        except MemoryError:
            raise
        except Exception as exc:
            request = self.request
            signal_internal_error(plan.task, self.uuid, self.args, self.kwargs, request, exc)
            if plan.eager:
                raise
            einfo = report_internal_error(plan.task, exc)
            runtime = time.monotonic() - self.started
            return trace_ok_t(einfo, plan.Info(FAILURE, exc), runtime, None)

    def _conclude(self) -> trace_ok_t:
        plan, uuid, request, retval = self.plan, self.uuid, self.request, self.retval
        failure = einfo = retstr = None
        state = SUCCESS
        try:
            if self.raised is not None:
                failure, einfo = self._on_raised(self.raised)
            else:
                try:
                    plan.on_returned(uuid, retval, request)
                except EncodeError as exc:
                    failure, einfo = plan.on_error(request, exc)
            runtime = time.monotonic() - self.started
            if failure is None:
                retstr = saferepr(retval, plan.resultrepr_maxsize)
                plan.succeeded(uuid, self.args, self.kwargs, retval, request, runtime, retstr)
            else:
                state, retval = failure.state, failure.retval
            if plan.after_return is not None and state not in IGNORE_STATES:
                plan.after_return(state, retval, uuid, self.args, self.kwargs, einfo)
        finally:
            if request._unsent_retries:
                # The task went on after it had asked for a retry.
                send_retries(request)
            if signals.task_postrun.receivers:
                signals.task_postrun.send(
                    sender=plan.task,
                    task_id=uuid,
                    task=plan.task,
                    args=self.args,
                    kwargs=self.kwargs,
                    retval=retval,
                    state=state,
                )
        return trace_ok_t(retval if einfo is None else einfo, failure, runtime, retstr)

    def _on_raised(self, raised: Exception) -> tuple[Any, Any]:
        """Handle what the body raised, as if it had been raised here."""
        traceback = raised.__traceback__
        try:
            raise raised
        except Exception as exc:
            # Without the frames of this thread.
            exc.__traceback__ = traceback or exc.__traceback__
            return self.plan.on_raised(self.request, exc)
