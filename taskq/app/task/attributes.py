"""The attributes of a task: what they mean, their defaults, and the settings behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from taskq import exceptions
from taskq.app.context import Context
from taskq.exceptions import MaxRetriesExceededError

__all__ = ("TaskAttributes",)


class _Lazily:
    """A class attribute that is looked up when it is read, so that kombu is not imported before."""

    def __init__(self, get: Callable[[], Any]) -> None:
        self.get = get

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.get()


class TaskAttributes:
    """Attributes of every task.

    The decorator's options, a base class and settings fill them; None means that the setting
    named in `from_config` decides when the task is bound.
    """

    #: Raised by `delay` and `apply_async` when the broker can't be reached.
    OperationalError: Any = _Lazily(lambda: exceptions.OperationalError)
    MaxRetriesExceededError = MaxRetriesExceededError

    #: Execution strategy, an import path or a function; the worker calls it once per task.
    Strategy: Any = "taskq.worker.strategy:default"
    #: Request class, or its import path, that the worker uses for messages of this task.
    Request: Any = "taskq.worker.request:Request"

    _app: Any = None

    #: Name the task is registered under.
    name: Any = None
    #: Check arguments against the signature of `run` before sending; None leaves it to the app's
    #: ``strict_typing``.
    typing: bool | None = None
    #: Retries before giving up; None is no limit.
    max_retries: int | None = 3
    #: Seconds before a retry that gives no countdown.
    default_retry_delay: float = 3 * 60
    #: Executions per second of this task in one worker, or text such as ``"100/m"``.
    rate_limit: Any = None
    #: Don't store state and result.
    ignore_result: Any = None
    #: Remember the tasks that this task sends as its children.
    trail: bool = True
    #: Send task events for this task.
    send_events: bool = True
    #: Store failures even when results are ignored.
    store_errors_even_if_ignored: Any = None
    #: Serializer of the message.
    serializer: Any = None
    #: Hard time limit, in seconds.
    time_limit: Any = None
    #: Soft time limit, in seconds.
    soft_time_limit: Any = None
    #: Report state STARTED when the task starts.
    track_started: Any = None
    #: Acknowledge the message after the task has run instead of before.
    acks_late: Any = None
    #: With late acknowledgement: acknowledge also when the task fails or times out.
    acks_on_failure_or_timeout: Any = None
    #: As above for failures only; None leaves it to ``acks_on_failure_or_timeout``.
    acks_on_failure: Any = None
    #: As above for time limits only; None leaves it to ``acks_on_failure_or_timeout``.
    acks_on_timeout: Any = None
    #: With late acknowledgement: return the message when the process running it dies.
    reject_on_worker_lost: Any = None
    #: Retry the task when the process running it dies.
    retry_on_worker_lost: Any = None
    #: Store the result also in eager mode.
    store_eager_result: Any = None
    #: Expected exceptions: logged without traceback at level INFO.
    throws: tuple[type[BaseException], ...] = ()
    #: Expiry of calls: seconds or a datetime.
    expires: Any = None
    #: Priority of messages.
    priority: Any = None
    #: Length in characters of the result's representation in logs and events.
    resultrepr_maxsize = 1024

    #: Stack of requests: the calls that run in this thread.
    request_stack: Any = None
    _default_request: Context | None = None

    #: Abstract classes are not registered, they are bases of others.
    abstract = True

    _exec_options: dict[str, Any] | None = None
    #: How calls without options are sent; made when the first one is.
    _shortcut: Any = None
    _backend: Any = None
    #: Turns pydantic models in a call's arguments into plain data; set by ``pydantic=True``.
    _dump_pydantic_arguments: Any = None

    #: Whether `run` is a coroutine function; known when the class is bound.
    is_coroutine = False
    #: Set on task classes by the app.
    __bound__ = False
    #: Signature check made from `run`, set by the app.
    __header__: Any = None

    #: (attribute, setting) pairs: where attributes that are None get their value.
    from_config: ClassVar[tuple[tuple[str, str], ...]] = (
        ("serializer", "task_serializer"),
        ("rate_limit", "task_default_rate_limit"),
        ("priority", "task_default_priority"),
        ("time_limit", "task_time_limit"),
        ("soft_time_limit", "task_soft_time_limit"),
        ("track_started", "task_track_started"),
        ("acks_late", "task_acks_late"),
        ("acks_on_failure_or_timeout", "task_acks_on_failure_or_timeout"),
        ("acks_on_failure", "task_acks_on_failure"),
        ("acks_on_timeout", "task_acks_on_timeout"),
        ("reject_on_worker_lost", "task_reject_on_worker_lost"),
        ("retry_on_worker_lost", "task_retry_on_worker_lost"),
        ("ignore_result", "task_ignore_result"),
        ("store_eager_result", "task_store_eager_result"),
        ("store_errors_even_if_ignored", "task_store_errors_even_if_ignored"),
    )
