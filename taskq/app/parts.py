"""The parts of an app, made when they are first used, and the classes that are bound to it.

A part of `TaskQ`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from taskq import canvas
from taskq._state import get_current_app
from taskq.app import backends as _backends
from taskq.loaders import get_loader_cls
from taskq.utils.imports import instantiate, symbol_by_name

if TYPE_CHECKING:
    from taskq.app.dead import DeadLetters


class Parts:
    """The part of an app that makes the others, and classes that know the app."""

    conf: Any
    amqp_cls: Any
    backend_cls: Any
    control_cls: Any
    events_cls: Any
    loader_cls: Any
    log_cls: Any
    task_cls: Any
    _backend_cache: Any
    _backend_lock: Any
    _ensure_after_fork: Callable[[], None]

    def create_task_cls(self) -> Any:
        """Return the base class of this app's tasks."""
        return self.subclass_with_self(
            self.task_cls, name="Task", attribute="_app", keep_reduce=True, abstract=True
        )

    def subclass_with_self(
        self,
        Class: Any,  # noqa: N803 - the public name
        name: str | None = None,
        attribute: str = "app",
        reverse: str | None = None,
        keep_reduce: bool = False,
        **kw: Any,
    ) -> Any:
        """Return a subclass that has this app as an attribute.

        - Class: a class or its import path.
        - reverse: path from the app to this class, so that instances can be pickled; the
          attribute's name by default.
        - keep_reduce: leave pickling as the class has it.
        """
        Class = symbol_by_name(Class)  # noqa: N806
        reverse = reverse or Class.__name__

        def __reduce__(instance: Any) -> Any:  # noqa: N807
            return _unpickle_attribute, (reverse, instance.__reduce_args__())

        attributes: dict[str, Any] = {
            attribute: self,
            "__module__": Class.__module__,
            "__doc__": Class.__doc__,
            **kw,
        }
        if not keep_reduce:
            attributes["__reduce__"] = __reduce__
        return type(name or Class.__name__, (Class,), attributes)

    def _rgetattr(self, path: str) -> Any:
        return attrgetter(path)(self)

    @cached_property
    def Worker(self) -> Any:  # noqa: N802 - the public name
        """The worker program, bound to this app."""
        return self.subclass_with_self("taskq.apps.worker:Worker")

    @cached_property
    def WorkController(self, **kwargs: Any) -> Any:  # noqa: N802 - the public name
        """The worker without the program around it, bound to this app."""
        return self.subclass_with_self("taskq.worker:WorkController")

    @cached_property
    def Beat(self, **kwargs: Any) -> Any:  # noqa: N802 - the public name
        """The beat program, bound to this app."""
        return self.subclass_with_self("taskq.apps.beat:Beat")

    @cached_property
    def Task(self) -> Any:  # noqa: N802 - the public name
        """The base class of tasks, bound to this app."""
        return self.create_task_cls()

    @cached_property
    def AsyncResult(self) -> Any:  # noqa: N802 - the public name
        """The result handle class, bound to this app."""
        return self.subclass_with_self("taskq.result:AsyncResult")

    @cached_property
    def ResultSet(self) -> Any:  # noqa: N802 - the public name
        """The result set class, bound to this app."""
        return self.subclass_with_self("taskq.result:ResultSet")

    @cached_property
    def GroupResult(self) -> Any:  # noqa: N802 - the public name
        """The group result class, bound to this app."""
        return self.subclass_with_self("taskq.result:GroupResult")

    @cached_property
    def _canvas(self) -> Any:
        return canvas

    @cached_property
    def amqp(self) -> Any:
        """Queues, routes and messages."""
        return instantiate(self.amqp_cls, app=self)

    @cached_property
    def control(self) -> Any:
        """Remote control of workers."""
        return instantiate(self.control_cls, app=self)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Messages of tasks that came to nothing."""
        letters: DeadLetters = instantiate("taskq.app.dead:DeadLetters", app=self)
        return letters

    @cached_property
    def events(self) -> Any:
        """Events sent and received."""
        return instantiate(self.events_cls, app=self)

    @cached_property
    def loader(self) -> Any:
        """The loader: reads configuration and imports task modules."""
        return get_loader_cls(self.loader_cls)(app=self)

    @cached_property
    def log(self) -> Any:
        """Logging set-up."""
        return instantiate(self.log_cls, app=self)

    @property
    def backend(self) -> Any:
        """The result backend; one for all threads, they are thread-safe."""
        backend = self._backend_cache
        if backend is None:
            with self._backend_lock:
                backend = self._backend_cache
                if backend is None:
                    self._ensure_after_fork()
                    backend = self._backend_cache = self._get_backend()
        return backend

    @backend.setter
    def backend(self, value: Any) -> None:
        self._backend_cache = value

    def _get_backend(self) -> Any:
        backend, url = _backends.by_url(self.backend_cls or self.conf.result_backend, self.loader)
        return backend(app=self, url=url)

    @cached_property
    def clock(self) -> Any:
        """The app's logical clock."""
        return symbol_by_name("kombu.clocks:LamportClock")()

    @cached_property
    def _build_tracer(self) -> Any:
        # Clients need no tracer: it is imported when the first task runs in this process.
        return symbol_by_name("taskq.app.trace:build_tracer")

    @cached_property
    def oid(self) -> str:
        """Id of this app in this process, where replies are sent to."""
        return str(symbol_by_name("kombu.common:oid_from")(self))


def _unpickle_attribute(path: str, args: Iterable[Any]) -> Any:
    """Make an instance of the class that the current app has at ``path``."""
    return get_current_app()._rgetattr(path)(*args)
