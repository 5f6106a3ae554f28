"""How outcomes are logged: the texts, and which severity an exception gets."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from taskq.exceptions import Ignore, Reject

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
