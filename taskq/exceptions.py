"""All errors and warnings of taskq, and those of its dependencies that user code catches.

Raised everywhere; kombu's, billiard's and click's are imported only when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from taskq.utils.lazymodule import lazy_attributes

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from billiard.exceptions import (
        SoftTimeLimitExceeded,
        Terminated,
        TimeLimitExceeded,
        WorkerLostError,
    )
    from kombu.exceptions import EncodeError as EncodeError
    from kombu.exceptions import OperationalError as OperationalError

    from taskq.utils.command_error import CeleryCommandException

__all__ = (
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "BackendGetMetaError",
    "BackendStoreError",
    "CDeprecationWarning",
    "CPendingDeprecationWarning",
    "CeleryCommandException",
    "CeleryError",
    "CeleryWarning",
    "ChordError",
    "DeliveryLimitExceeded",
    "DuplicateNodenameWarning",
    "DuplicateTaskNameWarning",
    "FixupWarning",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotConfigured",
    "NotRegistered",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "Retry",
    "SecurityError",
    "SecurityWarning",
    "SoftTimeLimitExceeded",
    "TaskCancelledError",
    "TaskError",
    "TaskPredicate",
    "TaskQError",
    "TaskQWarning",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
    "reraise",
)

UNREGISTERED_FMT = "Task of kind {0} is not registered: is its module imported?"

_ELSEWHERE = {
    "EncodeError": "kombu.exceptions:EncodeError",
    "OperationalError": "kombu.exceptions:OperationalError",
    "SoftTimeLimitExceeded": "billiard.exceptions:SoftTimeLimitExceeded",
    "TimeLimitExceeded": "billiard.exceptions:TimeLimitExceeded",
    "WorkerLostError": "billiard.exceptions:WorkerLostError",
    "Terminated": "billiard.exceptions:Terminated",
    "ClickException": "click.exceptions:ClickException",
    "CeleryCommandException": "taskq.utils.command_error:CeleryCommandException",
    "get_pickleable_exception": "taskq.utils.serialization:get_pickleable_exception",
}

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(__name__, _ELSEWHERE)


def reraise(
    tp: type[BaseException], value: BaseException, tb: TracebackType | None = None
) -> NoReturn:
    """Raise ``value`` with traceback ``tb``; ``tp`` is there to take ``*sys.exc_info()``."""
    if value.__traceback__ is not tb:
        raise value.with_traceback(tb)
    raise value


# -- warnings


class CeleryWarning(UserWarning):
    """Base of all warnings."""


TaskQWarning = CeleryWarning


class AlwaysEagerIgnored(CeleryWarning):
    """``send_task`` was called while ``task_always_eager`` is set: it sends all the same."""


class DuplicateNodenameWarning(CeleryWarning):
    """Two workers share one node name."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two functions or classes claim one task name."""


class FixupWarning(CeleryWarning):
    """A framework integration could not be set up."""


class NotConfigured(CeleryWarning):
    """No configuration was found."""


class SecurityWarning(CeleryWarning):
    """Something is less safe than it should be."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Something will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """Something is deprecated."""


# -- errors


class CeleryError(Exception):
    """Base of all errors."""


TaskQError = CeleryError


class ImproperlyConfigured(CeleryError):
    """A setting is missing or wrong."""


class SecurityError(CeleryError):
    """A security rule was broken, such as a bad signature."""


class TaskPredicate(CeleryError):
    """Base of what a task raises to tell the worker what to do with it."""


class Retry(TaskPredicate):
    """The task is to be tried again; raised by ``Task.retry``.

    Parameters:
        message: why, for the log.
        exc: the exception that caused the retry, or its text.
        when: seconds until the next try, or the time of it.
        is_eager: True if the task was called in this process with ``apply``.
        sig: the signature of the next try.
    """

    #: Why, for the log.
    message: str | None = None
    #: The exception that caused the retry, if there is one.
    exc: BaseException | None = None
    #: Text of that exception.
    excs: str | None = None
    #: Seconds until the next try, or the time of it.
    when: float | datetime | None = None

    def __init__(
        self,
        message: str | None = None,
        exc: Any = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
        **kwargs: Any,
    ) -> None:
        self.message = message
        if isinstance(exc, str):
            self.exc, self.excs = None, exc
        else:
            self.exc, self.excs = _pickleable(exc), _text(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when, **kwargs)

    def humanize(self) -> str:
        """Return when the next try is, as words: ``in 10s`` or ``at 2030-01-01 ...``."""
        if isinstance(self.when, (int, float)):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.__class__, (self.message, self.exc or self.excs, self.when, self.is_eager)


RetryTaskError = Retry


def _pickleable(exc: BaseException | None) -> Any:
    if exc is None:
        return None
    from taskq.utils.serialization import get_pickleable_exception

    return get_pickleable_exception(exc)


def _text(exc: BaseException | None) -> str | None:
    if exc is None:
        return None
    try:
        return repr(exc)
    except Exception as error:
        return f"<{type(exc).__name__} without a repr: {type(error).__name__}>"


class Ignore(TaskPredicate):
    """The task's outcome is not to be stored."""


class Reject(TaskPredicate):
    """The task's message is to be rejected (needs ``acks_late``).

    Parameters:
        reason: why, for the log.
        requeue: True to put the message back into its queue.
    """

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class TaskError(CeleryError):
    """Base of errors about tasks."""


class QueueNotFound(KeyError, TaskError):
    """A task was routed to a queue that ``task_queues`` does not have."""


class IncompleteStream(TaskError):
    """The end of a data stream was found too early."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is registered."""

    def __repr__(self) -> str:
        return UNREGISTERED_FMT.format(self)


class AlreadyRegistered(TaskError):
    """A task of this name is registered already."""


class TimeoutError(TaskError):
    """The wait for a result took longer than allowed."""


class MaxRetriesExceededError(TaskError):
    """The task was tried as often as it may be.

    Parameters:
        task_args: positional arguments of the task.
        task_kwargs: keyword arguments of the task.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class DeliveryLimitExceeded(TaskError):
    """The message was delivered ``task_delivery_limit`` times, and its worker died every time."""


class TaskRevokedError(TaskError):
    """The task was revoked, so there is no result."""


class TaskCancelledError(TaskError):
    """The coroutine of a task was cancelled from inside, by itself or by what it awaited."""


class InvalidTaskError(TaskError):
    """The task message lacks something or is malformed."""


class ChordError(TaskError):
    """A task of the chord's header raised."""


class BackendError(Exception):
    """Base of errors of the result store."""


class BackendGetMetaError(BackendError):
    """The result of task ``task_id`` could not be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} task_id:{self.task_id}"


class BackendStoreError(BackendError):
    """The ``state`` or result of task ``task_id`` could not be stored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state = kwargs.get("state", "")
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)

    def __repr__(self) -> str:
        return f"{super().__repr__()} state:{self.state} task_id:{self.task_id}"


class WorkerTerminate(SystemExit):
    """The worker is to stop at once."""


SystemTerminate = WorkerTerminate


class WorkerShutdown(SystemExit):
    """The worker is to finish what runs and stop."""
