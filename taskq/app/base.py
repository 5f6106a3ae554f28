"""The app: one object that owns a configuration, tasks, and the ways to reach broker and results.

Everything in a process starts here: users make a `TaskQ`, workers and clients are handed one.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Any

from taskq._state import (
    _announce_app_finalized,
    _deregister_app,
    _register_app,
    _set_current_app,
    get_current_task,
    get_current_worker_task,
    set_default_app,
)
from taskq.app import builtins as _builtins  # noqa: F401 - registers the built-in tasks
from taskq.app.brokers import Brokers
from taskq.app.configuration import Configuration, PendingConfiguration
from taskq.app.copies import Copies
from taskq.app.definitions import Definitions
from taskq.app.discovery import Discovery
from taskq.app.onloops import OnLoops
from taskq.app.parts import Parts
from taskq.app.periodic import PeriodicTasks
from taskq.app.registry import TaskRegistry
from taskq.app.sending import Sending
from taskq.app.utils import appstr
from taskq.local import maybe_evaluate
from taskq.utils.dispatch import Signal
from taskq.utils.imports import symbol_by_name
from taskq.utils.inthread import call_in_thread
from taskq.utils.time import timezone

__all__ = ("Celery", "PendingConfiguration", "TaskQ")

#: Fixups that make a framework and taskq fit, tried by every app.
BUILTIN_FIXUPS = {"taskq.fixups.django:fixup"}


class TaskQ(
    Configuration, Definitions, Discovery, PeriodicTasks, Sending, Brokers, OnLoops, Parts, Copies
):
    """A task queue application.

    - main: name of the main module, when it runs as ``__main__``.
    - loader: loader class, its alias or import path.
    - backend: result backend class or URL.
    - broker: broker URL, or a list of them.
    - include: modules to import in workers.
    - amqp, events, log, control, tasks: classes, or their import paths, to use for these parts.
    - set_as_current: make this the current app.
    - changes: settings, as a dict.
    - config_source: see `config_from_object`; config_source_silent: don't fail when it is missing.
    - fixups: import paths of fixups to try besides the built-in ones.
    - task_cls: base class of tasks, or its import path.
    - autofinalize: finalize the app when its tasks are first used.
    - namespace: prefix of setting names.
    - strict_typing: check arguments of calls against signatures.
    - any other keyword: a setting.

    Making one touches nothing: no configuration is read, nothing is imported or connected.
    """

    #: Deprecated: `system` information, kept for those who read it.
    SYSTEM = os.uname().sysname if hasattr(os, "uname") else os.name
    IS_macOS = SYSTEM == "Darwin"  # noqa: N815 - the public name
    IS_WINDOWS = SYSTEM in {"Windows", "nt"}

    #: Name of the main module.
    main: str | None = None
    #: Command line options added by users, by command.
    user_options: Any = None
    #: Bootsteps added by users: ``{"worker": set(), "consumer": set()}``.
    steps: Any = None

    builtin_fixups = BUILTIN_FIXUPS

    amqp_cls: Any = "taskq.app.amqp:AMQP"
    backend_cls: Any = None
    events_cls: Any = "taskq.app.events:Events"
    loader_cls: Any = None
    log_cls: Any = "taskq.app.log:Logging"
    control_cls: Any = "taskq.app.control:Control"
    task_cls: Any = "taskq.app.task:Task"
    registry_cls: Any = TaskRegistry

    #: Sent before the configuration is read.
    on_configure: Any = None
    #: Sent when the configuration has been read.
    on_after_configure: Any = None
    #: Sent when the app has been finalized.
    on_after_finalize: Any = None
    #: Sent in a child after a fork.
    on_after_fork: Any = None

    _pool: Any = None
    _conf: Any = None

    def __init__(
        self,
        main: str | None = None,
        loader: Any = None,
        backend: Any = None,
        amqp: Any = None,
        events: Any = None,
        log: Any = None,
        control: Any = None,
        set_as_current: bool = True,
        tasks: Any = None,
        broker: Any = None,
        include: Any = None,
        changes: dict[str, Any] | None = None,
        config_source: Any = None,
        fixups: Iterable[Any] | None = None,
        task_cls: Any = None,
        autofinalize: bool = True,
        namespace: str | None = None,
        strict_typing: bool = True,
        config_source_silent: bool = False,
        **kwargs: Any,
    ) -> None:
        self._local = threading.local()
        self._backend_cache: Any = None
        self._backend_lock = threading.RLock()
        self.main = main
        self.amqp_cls = amqp or self.amqp_cls
        self.events_cls = events or self.events_cls
        self.loader_cls = loader or self._get_default_loader()
        self.log_cls = log or self.log_cls
        self.control_cls = control or self.control_cls
        self._custom_task_cls_used = bool(task_cls) or self.task_cls != TaskQ.task_cls
        self.task_cls = task_cls or self.task_cls
        self.set_as_current = set_as_current
        self.registry_cls = symbol_by_name(self.registry_cls)
        self.user_options = _DefaultSets()
        self.steps = _DefaultSets()
        self.autofinalize = autofinalize
        self.namespace = namespace
        self.strict_typing = strict_typing
        self.configured = False
        self._config_source = config_source
        self._config_source_silent = config_source_silent
        self._pending_defaults: deque[Any] = deque()
        self._pending_periodic_tasks: deque[Any] = deque()
        self.finalized = False
        self._complete = False
        self._finalize_mutex = threading.RLock()
        self._pending: deque[Any] = deque()
        self._tasks = tasks
        if not isinstance(self._tasks, TaskRegistry):
            self._tasks = self.registry_cls(self._tasks or {})
        # A subclass that pickles in the way of the first generation has its own arguments.
        self._using_v1_reduce = type(self).__reduce_args__ is not TaskQ.__reduce_args__
        # Settings given here are part of the app's identity: they survive config_from_object.
        self._preconf = dict(changes or {})
        self._preconf_set_by_auto: set[str] = set()
        self._set_automatically("broker_url", broker)
        self._set_automatically("result_backend", backend)
        self._set_automatically("include", include)
        for key, value in kwargs.items():
            self._set_automatically(key, value)
        self._conf = PendingConfiguration(self._preconf, self._finalize_pending_conf)
        self.fixups = set(self.builtin_fixups) if fixups is None else fixups
        self._fixups = [
            fixup
            for fixup in (symbol_by_name(name)(self) for name in self.fixups)
            if fixup is not None
        ]
        if self.set_as_current:
            self.set_current()
        if self.on_configure is None:
            self.on_configure = Signal(name="app.on_configure")
        else:
            # Overridden as a method by a subclass.
            method = self.on_configure
            self.on_configure = Signal(name="app.on_configure")
            self.on_configure.connect(lambda **kw: method(), weak=False)
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")
        # The wire's clients look results up by the app that asked; see thread_oid.
        self.on_init()
        _register_app(self)

    def _get_default_loader(self) -> Any:
        return (
            os.environ.get("TASKQ_LOADER")
            or os.environ.get("CELERY_LOADER")
            or self.loader_cls
            or "taskq.loaders.app:AppLoader"
        )

    def on_init(self) -> None:
        """Do something when the app has been made. Nothing by default; for subclasses."""

    def _set_automatically(self, key: str, value: Any) -> None:
        if value is not None:
            self._preconf[key] = value
            self._preconf_set_by_auto.add(key)

    # -- being current

    def set_current(self) -> None:
        """Make this the current app of this thread."""
        _set_current_app(self)

    def set_default(self) -> None:
        """Make this the default app of all threads."""
        set_default_app(self)

    def close(self) -> None:
        """Close connections and clean up; needed only for apps made on the fly."""
        self._close_pools()
        if "dead_letters" in self.__dict__:
            self.dead_letters.close()
        backend = self._backend_cache
        if backend is not None and hasattr(backend, "stop_awaiting"):
            backend.stop_awaiting()
        if backend is not None and hasattr(backend, "close"):
            backend.close()
        self._backend_cache = None
        _deregister_app(self)

    def __enter__(self) -> TaskQ:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    async def aclose(self) -> None:
        """Close connections and clean up without blocking the event loop."""
        await call_in_thread(self.close)

    async def __aenter__(self) -> TaskQ:
        # Imported here: it brings asyncio along.
        from taskq.utils.asyncclient import running_loop

        running_loop()  # refuses other libraries here rather than at the end
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.aclose()

    def start(self, argv: list[str] | None = None) -> Any:
        """Run the ``taskq`` command with this app.

        - argv: arguments, ``sys.argv[1:]`` by default.
        """
        return self._run_command(argv)

    def worker_main(self, argv: list[str] | None = None) -> Any:
        """Run ``taskq worker`` with this app.

        - argv: arguments, which must have ``worker`` among them.

        Raises ValueError when they haven't.
        """
        argv = sys.argv if argv is None else argv
        if "worker" not in argv:
            raise ValueError(
                "The worker sub-command must be specified in argv.\n"
                "Use app.start() to programmatically start other commands."
            )
        return self.start(argv)

    def _run_command(self, argv: list[str] | None) -> Any:
        command = symbol_by_name("taskq.bin.celery:celery")
        command.params[0].default = self
        if argv is None:
            return command.main(standalone_mode=False)
        return command.main(args=argv, standalone_mode=False)

    # -- finalization

    def finalize(self, auto: bool = False) -> None:
        """Make pending tasks, take over shared ones, bind them all.

        Done by itself when ``tasks`` is first used. Raises RuntimeError when it is about to
        happen by itself and ``autofinalize`` is off.
        """
        with self._finalize_mutex:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(
                    "Contract breach: app not finalized. Call app.finalize() before using its tasks"
                )
            self.finalized = True
            _announce_app_finalized(self)
            while self._pending:
                maybe_evaluate(self._pending.popleft())
            for task in list(self._tasks.values()):
                task.bind(self)
            self._complete = True
            self.on_after_finalize.send(sender=self)

    @property
    def tasks(self) -> Any:
        """The task registry. Finalizes the app."""
        if not self._complete:
            # Another thread may be at it: this one waits until all tasks are there.
            self.finalize(auto=True)
        return self._tasks

    def setup_security(
        self,
        allowed_serializers: Any = None,
        key: str | None = None,
        key_password: Any = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Sign what is sent, and take only what somebody trusted has signed.

        Needs ``task_serializer="auth"`` and ``accept_content=["auth"]``. It works on the whole
        process, whatever the number of apps.

        - allowed_serializers: names or content types that stay readable besides ``auth``.
        - key, cert: paths of the private key and its certificate, settings `security_key` and
          `security_certificate` by default; key_password: `security_key_password`.
        - store: directory, or pattern of paths, of trusted certificates: `security_cert_store`.
        - digest: hash function of the signatures: `security_digest`.
        - serializer: what turns a body into the bytes that are signed.

        Raises ImproperlyConfigured for settings that are missing or defeat the purpose, and
        SecurityError for a key or certificate that can't be used.
        """
        # Looked up here: it brings every serializer along.
        symbol_by_name("taskq.security:setup_security")(
            allowed_serializers, key, key_password, cert, store, digest, serializer, app=self
        )

    # -- what subclasses change and workers ask for

    def prepare_config(self, c: Any) -> Any:
        """Return the configuration as it is used; for subclasses to change it."""
        return c

    def select_queues(self, queues: Any = None) -> None:
        """Consume from these queues only."""
        self.amqp.queues.select(queues)

    def signature(self, *args: Any, **kwargs: Any) -> Any:
        """Return a signature bound to this app."""
        kwargs["app"] = self
        return self._canvas.signature(*args, **kwargs)

    # -- the task that runs, the time

    @property
    def current_task(self) -> Any:
        """The task that runs in this thread, called by whatever means, or None."""
        return get_current_task()

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker runs in this thread, or None."""
        return get_current_worker_task()

    @cached_property
    def timezone(self) -> Any:
        """The app's time zone, the ``timezone`` setting."""
        conf = self.conf
        if not conf.timezone:
            return timezone.utc if conf.enable_utc else timezone.local
        return timezone.get_timezone(conf.timezone)

    def uses_utc_timezone(self) -> bool:
        """Return whether the app's time zone is UTC."""
        return bool(self.timezone == timezone.utc)

    def now(self) -> datetime:
        """Return the current time, with the app's time zone."""
        return datetime.now(self.timezone)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {appstr(self)}>"


#: The same class under the name that users of Celery know.
Celery = TaskQ


class _DefaultSets(dict[str, set[Any]]):
    """Mapping whose missing values are empty sets."""

    def __missing__(self, key: str) -> set[Any]:
        value: set[Any] = set()
        self[key] = value
        return value
