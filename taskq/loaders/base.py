"""What every loader does: read configuration, import modules, answer the worker's calls.

Subclass :class:`BaseLoader` to configure an app from elsewhere.
"""

from __future__ import annotations

import importlib
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from taskq import signals
from taskq.loaders.cmdline import RE_TYPE, parse_settings
from taskq.loaders.discovery import autodiscover_tasks as autodiscover_tasks
from taskq.loaders.discovery import find_related_module as find_related_module
from taskq.utils.collections import DictAttribute, force_mapping
from taskq.utils.functional import maybe_list
from taskq.utils.imports import NotAPackage, find_module, import_from_cwd, symbol_by_name
from taskq.utils.objects import cached_property

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ("BaseLoader",)

CONFIG_INVALID_NAME = """\
Error: Module '{module}' doesn't exist, or it's not a valid Python module name.
"""
CONFIG_WITH_SUFFIX = (
    CONFIG_INVALID_NAME
    + """\
Did you mean '{suggest}'?
"""
)

#: Environment variables that name the configuration module, the first that is set counts.
CONFIG_MODULE_ENV = ("TASKQ_CONFIG_MODULE", "CELERY_CONFIG_MODULE")

unconfigured: Any = object()


class BaseLoader:
    """Base of loaders.

    The worker calls, in this order: :meth:`on_worker_init` in its main process,
    :meth:`on_worker_process_init` in each pool process, :meth:`on_task_init` before each task,
    :meth:`on_process_cleanup` after it, :meth:`on_worker_shutdown` at the end.
    """

    builtin_modules: frozenset[str] = frozenset()
    #: True after a configuration was read.
    configured = False
    #: Result stores of this loader: name -> dotted name of the class.
    override_backends: dict[str, str] = {}
    worker_initialized = False

    _conf: Any = unconfigured

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    def now(self, utc: bool = True) -> datetime:
        """Return the current time, in UTC or (naive) in the machine's zone."""
        return datetime.now(UTC) if utc else datetime.now()

    # -- hooks

    def on_task_init(self, task_id: str, task: Any) -> None:
        """Called before a task runs."""

    def on_process_cleanup(self) -> None:
        """Called after a task has run."""

    def on_worker_init(self) -> None:
        """Called when the worker starts."""

    def on_worker_shutdown(self) -> None:
        """Called when the worker shuts down."""

    def on_worker_process_init(self) -> None:
        """Called when a pool process starts."""

    # -- importing

    def import_task_module(self, module: str) -> Any:
        """Import a module of tasks, and remember it."""
        self.task_modules.add(module)
        return self.import_from_cwd(module)

    def import_module(self, module: str, package: str | None = None) -> Any:
        """Import ``module``."""
        return importlib.import_module(module, package=package)

    def import_from_cwd(
        self, module: str, imp: Callable[..., Any] | None = None, package: str | None = None
    ) -> Any:
        """Import ``module``, looking in the current directory first."""
        return import_from_cwd(module, self.import_module if imp is None else imp, package=package)

    def import_default_modules(self) -> list[Any]:
        """Import the modules that settings ``imports`` and ``include`` name; return them.

        The first error that a receiver of the ``import_modules`` signal raised is raised here: an
        app with half of its tasks must not start.
        """
        for _, response in signals.import_modules.send(sender=self.app):
            if isinstance(response, Exception):
                raise response
        return [self.import_task_module(module) for module in self.default_modules]

    def init_worker(self) -> None:
        """Import the tasks and call :meth:`on_worker_init`, once."""
        if not self.worker_initialized:
            self.worker_initialized = True
            self.import_default_modules()
            self.on_worker_init()

    def shutdown_worker(self) -> None:
        """Call :meth:`on_worker_shutdown`."""
        self.on_worker_shutdown()

    def init_worker_process(self) -> None:
        """Call :meth:`on_worker_process_init`."""
        self.on_worker_process_init()

    # -- configuration

    def config_from_object(self, obj: Any, silent: bool = False) -> bool:
        """Take the configuration from an object or the name of one.

        Parameters:
            obj: mapping, object with attributes, or ``"module"`` or ``"module:attribute"``.
            silent: return False if the name cannot be imported, in place of an error.
        """
        if isinstance(obj, str):
            try:
                obj = self._smart_import(obj, imp=self.import_from_cwd)
            except (ImportError, AttributeError):
                if silent:
                    return False
                raise
        self._conf = force_mapping(obj)
        if self._conf.get("override_backends") is not None:
            self.override_backends = self._conf["override_backends"]
        return True

    def _smart_import(self, path: str, imp: Callable[..., Any] | None = None) -> Any:
        imp = self.import_module if imp is None else imp
        if ":" in path:
            # The colon says clearly what is a module and what is inside.
            return symbol_by_name(path, imp=imp)
        try:
            return imp(path)
        except ImportError:
            # Not a module: maybe an attribute of one.
            if "." not in path:
                raise
            return symbol_by_name(path, imp=imp)

    def _import_config_module(self, name: str) -> None:
        try:
            self.find_module(name)
        except NotAPackage as exc:
            template = CONFIG_WITH_SUFFIX if name.endswith(".py") else CONFIG_INVALID_NAME
            raise NotAPackage(template.format(module=name, suggest=name[:-3])) from exc

    def find_module(self, module: str) -> Any:
        """Import ``module`` from the current directory or the path."""
        return find_module(module)

    def cmdline_config_parser(
        self,
        args: Iterable[str],
        namespace: str = "celery",
        re_type: re.Pattern[str] = RE_TYPE,
        extra_types: Mapping[str, Callable[[Any], Any]] | None = None,
        override_types: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Parse settings from the command line; see ``taskq.loaders.cmdline``."""
        return parse_settings(args, namespace, re_type, extra_types, override_types)

    def read_configuration(self, env: str = "CELERY_CONFIG_MODULE") -> Any:
        """Import the module that an environment variable names, and return it as a mapping.

        Parameters:
            env: the variable; with the default, ``TASKQ_CONFIG_MODULE`` is looked at first.

        Returns None if the variable is not set.
        """
        name = _config_module_name(CONFIG_MODULE_ENV if env in CONFIG_MODULE_ENV else (env,))
        if not name:
            return None
        self._import_config_module(name)
        return DictAttribute(self.import_module(name))

    def autodiscover_tasks(
        self, packages: Iterable[str], related_name: str | None = "tasks"
    ) -> None:
        """Import the module ``related_name`` of each package, and remember those found."""
        self.task_modules.update(
            module.__name__
            for module in autodiscover_tasks(packages, related_name)
            if module is not None
        )

    @cached_property
    def default_modules(self) -> tuple[str, ...]:
        """Names of the modules that are imported when a worker starts."""
        conf = self.app.conf
        return (
            *self.builtin_modules,
            *(maybe_list(conf.imports) or ()),
            *(maybe_list(conf.include) or ()),
        )

    @property
    def conf(self) -> Any:
        """The configuration as it was read, a mapping."""
        if self._conf is unconfigured:
            self._conf = self.read_configuration()
        return self._conf


def _config_module_name(variables: Iterable[str]) -> str | None:
    for variable in variables:
        name = os.environ.get(variable)
        if name:
            return name
    return None
