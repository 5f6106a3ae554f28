"""The names of the first generation of the API, for code that was written for it.

`taskq.decorators` and `taskq.registry` take theirs from here. Importing any of them warns once
and tells today's spelling.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from taskq._state import _get_active_apps, connect_on_app_finalize, current_app, get_current_app
from taskq.app.definitions import shared_task
from taskq.app.task import Task as BaseTask
from taskq.local import Proxy

__all__ = ("Task", "task", "tasks")

warnings.warn(
    "taskq.task, taskq.decorators and taskq.registry are names of the first generation of the API. "
    "Today's are: @app.task or @taskq.shared_task for functions, taskq.Task with "
    "app.register_task() for classes, app.tasks for the registry, "
    "taskq.utils.log.get_task_logger(__name__) for loggers.",
    DeprecationWarning,
    stacklevel=2,
)

#: Every task of the current app, by name.
tasks: Any = Proxy(lambda: current_app.tasks)

#: What a task may take as keyword arguments beside its own.
_DEFAULT_KWARGS: Mapping[str, Callable[[Any], Any]] = {
    "logfile": lambda task: task.request.logfile,
    "loglevel": lambda task: task.request.loglevel,
    "task_id": lambda task: task.request.id,
    "task_name": lambda task: task.name,
    "task_retries": lambda task: task.request.retries,
    "task_is_eager": lambda task: task.request.is_eager,
    "delivery_info": lambda task: task.request.delivery_info,
}


class _OnTheTask:
    """A method that can be called on the class too: it then works on the registered task."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, task: Any, cls: Any) -> Any:
        if task is None:
            # Abstract classes have no task to work on.
            task = cls.__new__(cls) if cls.name is None else get_current_app().tasks[cls.name]
        return self._method.__get__(task)


class Task(BaseTask[..., Any]):
    """Base of class-based tasks that register themselves when they are defined.

    Unless the class says ``abstract = True``. What a task may call on itself can be called on its
    class: ``AddTask.delay(2, 2)``. `run` may take ``logfile``, ``loglevel``, ``task_id``,
    ``task_name``, ``task_retries``, ``task_is_eager`` and ``delivery_info``, or ``**kwargs`` for
    all of them.
    """

    abstract = True
    #: Callers don't give the arguments that the worker adds.
    typing = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "run" in own:
            cls.run = _with_default_kwargs(own["run"])  # type: ignore[method-assign]
        # Each app gets a class of its own, bound to it and marked abstract;
        # the decorator registers those it makes.
        if own.get("abstract") or "_decorated" in own:
            return
        if not own.get("name"):
            cls.name = get_current_app().gen_task_name(cls.__name__, cls.__module__)

        base: Any = cls

        def register(app: Any) -> Any:
            return app._tasks.get(cls.name) or app.register_task(
                type(base.__name__, (base,), {"abstract": True})
            )

        register.__module__ = cls.__module__
        connect_on_app_finalize(register)
        for app in _get_active_apps():
            if app.finalized:
                register(app)

    def retry(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Retry the task: `taskq.Task.retry`, which is not given what the worker adds."""
        if kwargs:
            kwargs = {key: value for key, value in kwargs.items() if key not in _DEFAULT_KWARGS}
        return super().retry(args, kwargs, *rest, **options)

    @property
    def __name__(self) -> str:
        return self._given_name or super().__name__

    @__name__.setter
    def __name__(self, name: str) -> None:
        self._given_name = name

    _given_name: str | None = None


for _name in ("delay", "apply_async", "apply", "retry", "get_logger", "AsyncResult", "subtask"):
    setattr(Task, _name, _OnTheTask(inspect.getattr_static(Task, _name)))


def _with_default_kwargs(run: Any) -> Any:
    """Return ``run`` that also gets those of the default keyword arguments it takes."""
    static = isinstance(run, staticmethod)
    function = run.__func__ if static else run
    parameters = inspect.signature(function).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    wanted = [name for name in _DEFAULT_KWARGS if takes_all or name in parameters]
    if not wanted:
        return run

    @wraps(function)
    def with_defaults(self: Any, *args: Any, **kwargs: Any) -> Any:
        # The task of the call: of several apps' the one that runs.
        added = {name: _DEFAULT_KWARGS[name](self) for name in wanted}
        given = args if static else (self, *args)
        return function(*given, **{**added, **kwargs})

    return with_defaults


def task(*args: Any, **options: Any) -> Any:
    """Make a task of a function: ``@task`` or ``@task(serializer="json")``.

    The options are those of `TaskQ.task`. It belongs to whichever app is current.
    """
    options.setdefault("base", Task)
    if len(args) == 1 and callable(args[0]):
        return shared_task(**options)(args[0])
    return shared_task(*args, **options)
