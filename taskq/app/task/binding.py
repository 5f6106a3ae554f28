"""Binding: how a task class gets its app, its settings and its annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from inspect import iscoroutinefunction
from types import FunctionType
from typing import Any

from taskq import _state
from taskq.app.annotations import resolve_all as resolve_all_annotations
from taskq.app.registry import _unpickle_task_v2
from taskq.app.task.attributes import TaskAttributes
from taskq.local import class_property
from taskq.utils.imports import instantiate
from taskq.utils.threads import LocalStack

__all__ = ("BoundTask",)

#: Module that users know the base class by.
_HOME = "taskq.app.task"


class BoundTask(TaskAttributes):
    """A task that belongs to an app."""

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the class to an app: fill attributes from settings and annotations."""
        was_bound, cls.__bound__ = cls.__bound__, True
        cls._app = app
        conf = app.conf
        cls._exec_options = None
        cls.is_coroutine = iscoroutinefunction(getattr(cls, "run", None))
        for attribute, setting in cls.from_config:
            if getattr(cls, attribute, None) is None:
                setattr(cls, attribute, conf[setting])
        for attribute in ("acks_on_failure", "acks_on_timeout"):
            if getattr(cls, attribute) is None:
                setattr(cls, attribute, cls.acks_on_failure_or_timeout)
        if cls.typing is None:
            cls.typing = app.strict_typing
        if not was_bound:
            cls.annotate()
            cls.request_stack = LocalStack()
        cls.on_bound(app)
        return app

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Do something when the class is bound to an app. Nothing by default."""

    @classmethod
    def _get_app(cls) -> Any:
        if cls._app is None:
            cls._app = _state.get_current_app()
        if not cls.__bound__:
            # The app property isn't used here as it would bind again.
            cls.bind(cls._app)
        return cls._app

    app = class_property(_get_app, bind)

    @classmethod
    def annotate(cls) -> None:
        """Set the attributes that the ``task_annotations`` setting gives this task."""
        for annotation in resolve_all_annotations(cls.app.annotations, cls):
            for key, value in annotation.items():
                if key.startswith("@"):
                    cls.add_around(key[1:], value)
                else:
                    setattr(cls, key, value)

    @classmethod
    def add_around(cls, attr: str, around: Callable[..., Any]) -> None:
        """Wrap a method of the class: ``around(original)`` returns the replacement."""
        original = getattr(cls, attr)
        if getattr(original, "__wrapped__", None):
            original = original.__wrapped__
        wrapped = around(original)
        wrapped.__wrapped__ = original
        setattr(cls, attr, wrapped)

    @property
    def backend(self) -> Any:
        """The result backend of this task, the app's by default."""
        backend = self._backend
        if backend is None:
            return self.app.backend
        return backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend = value

    def start_strategy(self, app: Any, consumer: Any, **kwargs: Any) -> Any:
        """Return the function the worker calls with each message of this task."""
        strategy = inspect.getattr_static(self, "Strategy")
        if isinstance(strategy, FunctionType):
            # An attribute, not a method: it is given the task, and nothing before that.
            return strategy(self, app, consumer, **kwargs)
        return instantiate(self.Strategy, self, app, consumer, **kwargs)

    def __reduce__(self) -> Any:
        # Tasks are pickled by name: the other side has them in its registry.
        module = type(self).__module__
        return _unpickle_task_v2, (self.name, None if module == _HOME else module), None

    def __repr__(self) -> str:
        return f"<@task: {self.name} of {self._get_app().main or '__main__'} at {id(self):#x}>"

    @property
    def __name__(self) -> str:
        return str(type(self).__qualname__.rpartition(".")[2])

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, BoundTask) and other.name == self.name)
