"""Defining tasks: the ``task`` decorator, class-based tasks, names, and what is shared.

A part of `TaskQ`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from taskq._state import _get_active_apps, connect_on_app_finalize, get_current_app
from taskq.app.autoretry import add_autoretry_behaviour
from taskq.app.duplicates import place_of, warn_of_second_class, warn_of_second_function
from taskq.app.pydantic import ArgumentDumper, wrap_with_models
from taskq.app.task import CoroutineTask
from taskq.app.task import Task as TaskBase
from taskq.local import PromiseProxy, Proxy
from taskq.utils.functional import head_from_fun
from taskq.utils.imports import gen_task_name

P = ParamSpec("P")
R = TypeVar("R")


class _MakesTask(Protocol):
    """What ``@app.task(...)`` decorates with."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> TaskBase[P, R]: ...


class _MakesBoundTask(Protocol):
    """The same with ``bind=True``: the function gets the task first."""

    @overload
    def __call__(
        self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> CoroutineTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> TaskBase[P, R]: ...


class Definitions:
    """The part of an app that makes tasks out of functions and classes."""

    Task: Any
    main: str | None
    finalized: bool
    autofinalize: bool
    strict_typing: bool
    _tasks: Any
    _pending: Any

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> TaskBase[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **opts: Any) -> _MakesBoundTask: ...
    @overload
    def task(self, *, bind: Literal[False] = ..., **opts: Any) -> _MakesTask: ...
    def task(self, *args: Any, **opts: Any) -> Any:
        """Make a task of a function. Used as ``@app.task`` or ``@app.task(**opts)``.

        - name: of the task; made from module and function by default, see `gen_task_name`.
        - bind: give the task instance to the function as its first argument.
        - base: the task's class, the app's `Task` by default.
        - lazy: make the task when it is first used rather than now (True).
        - shared: other apps of this process get a copy too (True).
        - pydantic, pydantic_strict, pydantic_context, pydantic_dump_kwargs: models as arguments.
        - autoretry_for, retry_kwargs, retry_backoff, …: see `Task`.
        - any other option becomes an attribute of the task.

        Returns a proxy of the task, which is made when it is needed.
        """

        def create(
            lazy: bool = True,
            shared: bool = True,
            filter: Callable[[Any], Any] | None = None,
            **options: Any,
        ) -> Callable[[Callable[..., Any]], Any]:
            def make(fun: Callable[..., Any]) -> Any:
                _refuse_tasks(fun)
                if shared:

                    def construct(app: Any) -> Any:
                        return app._task_from_fun(fun, **options)

                    construct.__doc__ = fun.__doc__
                    construct.__module__ = fun.__module__
                    connect_on_app_finalize(construct)
                task: Any
                if not lazy or self.finalized:
                    task = self._task_from_fun(fun, **options)
                else:
                    task = PromiseProxy(self._task_from_fun, (fun,), options, __doc__=fun.__doc__)
                    self._pending.append(task)
                return filter(task) if filter is not None else task

            return make

        if len(args) == 1:
            if callable(args[0]):
                return create(**opts)(args[0])
            raise TypeError(f"argument 1 to @task() must be a callable, not {args[0]!r}")
        if args:
            raise TypeError(f"@task() takes exactly 1 argument ({len(args)} given)")
        return create(**opts)

    def type_checker(self, fun: Callable[..., Any], bound: bool = False) -> Any:
        """Return a function that raises TypeError when called with arguments ``fun`` refuses."""
        return staticmethod(head_from_fun(fun, bound=bound))

    def _task_from_fun(
        self,
        fun: Callable[..., Any],
        name: str | None = None,
        base: Any = None,
        bind: bool = False,
        **options: Any,
    ) -> Any:
        if not self.finalized and not self.autofinalize:
            raise RuntimeError(
                "Contract breach: app not finalized. Call app.finalize() before using its tasks"
            )
        name = name or self.gen_task_name(fun.__name__, fun.__module__)
        base = base or self.Task
        if name in self._tasks:
            task = self._tasks[name]
            warn_of_second_function(name, task, fun)
            return task
        models = _model_options(options, base)
        run = fun
        if models["pydantic"]:
            run = _with_models(self, fun, name, models)
            options["_dump_pydantic_arguments"] = staticmethod(_dumper(models))
        attributes = {
            "app": self,
            "name": name,
            "run": run if bind else staticmethod(run),
            "_decorated": True,
            "__doc__": fun.__doc__,
            "__module__": fun.__module__,
            "__annotations__": getattr(fun, "__annotations__", {}),
            "__header__": self.type_checker(fun, bound=bind),
            "__wrapped__": run if bind else staticmethod(run),
            **models,
            **options,
        }
        cls = type(fun.__name__, (base,), attributes)
        cls.__qualname__ = getattr(fun, "__qualname__", fun.__name__)
        task = cls()
        self._tasks[task.name] = task
        task.bind(self)  # connects task to this app
        add_autoretry_behaviour(task, **options)
        return task

    def register_task(self, task: Any, **options: Any) -> Any:
        """Register a class-based task, given as instance or class. Returns the instance.

        - options: autoretry options, see `add_autoretry_behaviour`, and those for pydantic, see
          `task`; each defaults to the class's attribute of that name.
        """
        task = task() if inspect.isclass(task) else task
        if not task.name:
            cls = type(task)
            task.name = self.gen_task_name(cls.__name__, cls.__module__)
        models = _model_options(options, task)
        if models["pydantic"] and task._dump_pydantic_arguments is None:
            task.run = _with_models(self, task.run, task.name, models)
            task._dump_pydantic_arguments = _dumper(models)
        add_autoretry_behaviour(task, **options)
        warn_of_second_class(self.tasks, task)
        self.tasks[task.name] = task
        task._app = self
        task.bind(self)
        return task

    tasks: Any

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task from the names of its function and module.

        Override it to name tasks otherwise; it must return the same for the same.
        """
        return gen_task_name(self, name, module)


#: Options of tasks whose arguments are pydantic models.
_MODEL_OPTIONS: dict[str, Any] = {
    "pydantic": False,
    "pydantic_strict": False,
    "pydantic_context": None,
    "pydantic_dump_kwargs": None,
}


def _model_options(options: dict[str, Any], base: Any) -> dict[str, Any]:
    """Take the pydantic options out of a task's options; those not given are its base's."""
    return {
        name: options.pop(name, getattr(base, name, default))
        for name, default in _MODEL_OPTIONS.items()
    }


def _with_models(app: Any, run: Callable[..., Any], name: str, models: dict[str, Any]) -> Any:
    return wrap_with_models(
        app,
        run,
        name,
        strict=models["pydantic_strict"],
        context=models["pydantic_context"],
        dump_kwargs=models["pydantic_dump_kwargs"],
    )


def _dumper(models: dict[str, Any]) -> ArgumentDumper:
    return ArgumentDumper(models["pydantic_dump_kwargs"])


def _refuse_tasks(fun: Any, decorator: str = "@task") -> None:
    """Raise TypeError when ``fun`` can't become a task: it is one already, or it yields."""
    if inspect.isasyncgenfunction(fun):
        raise TypeError(
            f"{place_of(fun)} yields, and a task has one result: return a list of what it yields,"
            " or store progress with update_state()"
        )
    if isinstance(fun, Proxy) or (not inspect.isclass(fun) and isinstance(fun, TaskBase)):
        raise TypeError(
            f"{decorator} was applied more than once to the same function: {fun!r} is a task"
            " already. Apply one task decorator, once, and as the outermost one"
        )


def shared_task(*args: Any, **kwargs: Any) -> Any:
    """Make a task that belongs to whichever app is current. Used like `TaskQ.task`.

    For libraries, which have no app: the task is registered in every app of the process, and the
    name that the decorator leaves behind stands for the task of the current app.
    """

    def create(**options: Any) -> Callable[[Callable[..., Any]], Any]:
        def make(fun: Callable[..., Any]) -> Any:
            _refuse_tasks(fun, "@shared_task")
            name = options.get("name")

            def construct(app: Any) -> Any:
                return app._task_from_fun(fun, **options)

            construct.__module__ = fun.__module__
            # Apps that are finalized from now on.
            connect_on_app_finalize(construct)
            # And those that have been.
            for app in _get_active_apps():
                if app.finalized:
                    with app._finalize_mutex:
                        app._task_from_fun(fun, **options)

            def task_of_current_app() -> Any:
                app = get_current_app()
                return app.tasks[name or app.gen_task_name(fun.__name__, fun.__module__)]

            return Proxy(task_of_current_app)

        return make

    if len(args) == 1 and callable(args[0]):
        return create(**kwargs)(args[0])
    if args:
        raise TypeError(f"argument 1 to @shared_task must be a callable, not {args[0]!r}")
    return create(**kwargs)
