"""Tracing: running one task with everything around it, and turning what happens into a state.

Workers' children call `execute_task` with what the main process received; ``Task.apply`` builds
an eager tracer.
"""

from __future__ import annotations

from typing import Any

from billiard.einfo import ExceptionInfo
from kombu.exceptions import EncodeError, OperationalError
from kombu.utils.encoding import safe_repr

from taskq import signals
from taskq._state import _task_stack
from taskq.app.context import Context
from taskq.app.trace.child import (
    decode_body,
    execute_task,
    in_base64,
    is_coroutine_task,
    reset_worker_optimizations,
    setup_worker_optimizations,
)
from taskq.app.trace.failures import (
    TraceInfo,
    get_actual_ignore_result,
    logger,
    report_internal_error,
    traceback_clear,
)
from taskq.app.trace.failures import signal_internal_error as _signal_internal_error
from taskq.app.trace.limits import limit_coroutines
from taskq.app.trace.outcome import (
    FAILED,
    IGNORE,
    IGNORE_STATES,
    OK,
    REJECT,
    RETRIED,
    Outcome,
    trace_ok_t,
)
from taskq.app.trace.plan import send_success, task_has_custom
from taskq.app.trace.policy import (
    LOG_FAILURE,
    LOG_IGNORED,
    LOG_INTERNAL_ERROR,
    LOG_RECEIVED,
    LOG_REJECTED,
    LOG_RETRY,
    LOG_SUCCESS,
    get_log_policy,
    get_task_name,
    log_policy_expected,
    log_policy_ignore,
    log_policy_internal,
    log_policy_reject,
    log_policy_t,
    log_policy_unexpected,
)
from taskq.app.trace.tracer import (
    Tracer,
    build_tracer,
    send_postrun,
    send_prerun,
    trace_task,
)
from taskq.app.trace.usercode import in_user_code
from taskq.canvas import group
from taskq.exceptions import BackendGetMetaError, Ignore, InvalidTaskError, Reject, Retry
from taskq.result import AsyncResult
from taskq.states import EXCEPTION_STATES, FAILURE, IGNORED, REJECTED, RETRY, STARTED, SUCCESS
from taskq.utils.nodenames import gethostname
from taskq.utils.saferepr import saferepr
from taskq.utils.serialization import get_pickled_exception

__all__ = (
    "AsyncResult",
    "BackendGetMetaError",
    "Context",
    "EXCEPTION_STATES",
    "EncodeError",
    "ExceptionInfo",
    "FAILED",
    "FAILURE",
    "IGNORE",
    "IGNORED",
    "IGNORE_STATES",
    "Ignore",
    "InvalidTaskError",
    "LOG_FAILURE",
    "LOG_IGNORED",
    "LOG_INTERNAL_ERROR",
    "LOG_RECEIVED",
    "LOG_REJECTED",
    "LOG_RETRY",
    "LOG_SUCCESS",
    "OK",
    "OperationalError",
    "Outcome",
    "REJECT",
    "REJECTED",
    "RETRIED",
    "RETRY",
    "Reject",
    "Retry",
    "STARTED",
    "SUCCESS",
    "TraceInfo",
    "Tracer",
    "build_tracer",
    "decode_body",
    "in_base64",
    "execute_task",
    "get_actual_ignore_result",
    "get_log_policy",
    "get_pickled_exception",
    "get_task_name",
    "gethostname",
    "group",
    "in_user_code",
    "info",
    "is_coroutine_task",
    "limit_coroutines",
    "log_policy_expected",
    "log_policy_ignore",
    "log_policy_internal",
    "log_policy_reject",
    "log_policy_t",
    "log_policy_unexpected",
    "logger",
    "report_internal_error",
    "reset_worker_optimizations",
    "safe_repr",
    "saferepr",
    "send_postrun",
    "send_prerun",
    "send_success",
    "setup_worker_optimizations",
    "signals",
    "task_has_custom",
    "trace_ok_t",
    "trace_task",
    "traceback_clear",
)


info = logger.info

#: What published packages import from here besides.
_FOR_OTHERS = (_signal_internal_error, _task_stack)


def __getattr__(name: str) -> Any:
    if name == "successful_requests":
        # Kept by the worker's state, which knows more than this room.
        from kombu.utils.imports import symbol_by_name

        return symbol_by_name("taskq.worker.state:successful_requests")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
