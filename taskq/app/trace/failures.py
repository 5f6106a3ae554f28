"""Error states: storing, logging and announcing a task that did not succeed."""

from __future__ import annotations

import sys
from typing import Any
from warnings import warn

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from kombu.utils.encoding import safe_repr, safe_str

from taskq import signals
from taskq.app.task.retrying import send_retries
from taskq.app.trace.outcome import RETRY
from taskq.app.trace.policy import LOG_RETRY, get_log_policy, get_task_name
from taskq.exceptions import BackendGetMetaError
from taskq.states import READY_STATES
from taskq.utils.coroutines import finished
from taskq.utils.log import get_logger
from taskq.utils.serialization import get_pickleable_etype, get_pickleable_exception

logger = get_logger("celery.app.trace")

#: Seconds until a retry that might end before its state is stored.
_SOON = 1.0


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


def _has_ended(task: Any, req: Any, reason: Any) -> bool:
    """Return whether a retry has ended before its state is stored here.

    That can only be one that was sent by ``retry(throw=False)`` or by hand, and was to run at once.
    Its end is not overwritten: callers would wait for ever.
    """
    at_once = isinstance(reason.when, int | float) and reason.when <= _SOON
    # Results that come as messages are read by whoever waits for them.
    if not at_once or req.is_eager or not type(task.backend).persistent:
        return False
    try:
        return task.backend.get_state(req.id) in READY_STATES
    except (NotImplementedError, BackendGetMetaError):
        return False


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
        try:
            if store_errors and (req._unsent_retries or not _has_ended(task, req, reason)):
                task.backend.mark_as_retry(req.id, reason.exc, einfo.traceback, request=req)
        finally:
            send_retries(req)
        finished(task.on_retry(reason.exc, req.id, req.args, req.kwargs, einfo))
        if signals.task_retry.receivers:
            signals.task_retry.send(sender=task, request=req, reason=reason, einfo=einfo)
        logger.info(
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
        finished(task.on_failure(exc, req.id, req.args, req.kwargs, einfo))
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


def signal_internal_error(
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
