"""Configuration of an app: settings read lazily, from all the places they may come from.

A part of `TaskQ`; what a setting means is told in `taskq.app.defaults`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import cached_property
from typing import Any

from taskq.app.annotations import prepare as prepare_annotations
from taskq.app.utils import Settings, bugreport, detect_settings
from taskq.exceptions import ImproperlyConfigured

#: Environment variables that name a configuration, in order.
_ENV_ERROR = (
    "The environment variable {0!r} is not set, and as such the configuration could not be "
    "loaded. Set it to the name of a configuration module, or pass silent=True."
)


class PendingConfiguration(MutableMapping[str, Any]):
    """Settings before anything was read.

    Assigning keeps a value in ``conf``; the first read of any setting calls ``callback``, which
    loads the configuration, and is answered by what it returns.
    """

    data: Any
    callback: Callable[[], Any]

    def __init__(self, conf: dict[str, Any], callback: Callable[[], Any]) -> None:
        object.__setattr__(self, "data", conf)
        object.__setattr__(self, "callback", callback)

    def _loaded(self, settings: Any) -> None:
        """From now on assign to the loaded settings, for those who still hold this object."""
        object.__setattr__(self, "data", settings)

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __setattr__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assign several settings."""
        self.data.update(*args, **kwargs)

    def setdefault(self, key: str, value: Any = None) -> Any:
        """Assign a setting unless it was assigned already, and return it."""
        return self.data.setdefault(key, value)

    def clear(self) -> None:
        """Forget what was assigned."""
        self.data.clear()

    def __contains__(self, key: object) -> bool:
        return key in self.callback()

    def __getitem__(self, key: str) -> Any:
        return self.callback()[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        return getattr(self.callback(), key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.callback())

    def __len__(self) -> int:
        return len(self.callback())

    def __repr__(self) -> str:
        return repr(self.callback())


class Configuration:
    """The part of an app that deals with its settings."""

    loader: Any
    configured: bool
    _config_source: Any
    _config_source_silent: bool
    _pending_defaults: Any
    _pending_periodic_tasks: Any
    _preconf: dict[str, Any]
    _preconf_set_by_auto: set[str]
    _conf: Any
    namespace: str | None
    on_configure: Any
    on_after_configure: Any
    prepare_config: Any
    _add_periodic_task: Any

    @property
    def conf(self) -> Any:
        """The settings. Assigning to them before the first read keeps the app lazy."""
        if self._conf is None:
            self._conf = self._load_config()
        return self._conf

    @conf.setter
    def conf(self, value: Any) -> None:
        self._conf = value

    def add_defaults(self, fun: Any) -> Any:
        """Add a layer of defaults: a mapping, or a function that returns one.

        A function is called only when settings are first read.
        """
        if not callable(fun):
            defaults, fun = fun, lambda: defaults
        if self.configured:
            return self._conf.add_defaults(fun())
        self._pending_defaults.append(fun)
        return None

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Read settings from an object or from the name of one.

        - obj: module, class, dict, any object with settings as attributes, or the dotted name of
          one (``"celeryconfig"``, ``"proj.conf:Config"``).
        - silent: don't fail when it can't be imported.
        - force: read it now instead of when settings are first read.
        - namespace: prefix of the settings' names, as ``"CELERY"`` for ``CELERY_TASK_…``.

        Settings assigned before are forgotten.
        """
        self._config_source = obj
        self._config_source_silent = silent
        self.namespace = namespace or self.namespace
        if force or self.configured:
            self._conf = None
            if self.loader.config_from_object(obj, silent=silent):
                self._load_config()

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> Any:
        """Read settings from the module that an environment variable names.

        Raises ImproperlyConfigured when the variable is not set, unless ``silent``.
        """
        module_name = os.environ.get(variable_name)
        if not module_name:
            if silent:
                return False
            raise ImproperlyConfigured(_ENV_ERROR.format(variable_name))
        return self.config_from_object(module_name, silent=silent, force=force)

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Update the settings from ``name=value`` arguments."""
        self._conf.update(self.loader.cmdline_config_parser(argv, namespace))

    def _finalize_pending_conf(self) -> Settings:
        """Load the configuration: settings have been read for the first time."""
        conf = self._conf
        if isinstance(conf, PendingConfiguration):
            conf = self._load_config()
        return conf  # type: ignore[no-any-return]

    def _load_config(self) -> Settings:
        """Put the layers together: assignments, the configuration's source, defaults."""
        self.on_configure.send(sender=self)
        if self._config_source:
            self.loader.config_from_object(self._config_source, silent=self._config_source_silent)
        self.configured = True
        settings = detect_settings(
            self.prepare_config(self.loader.conf or {}),
            self._preconf,
            ignore_keys=self._preconf_set_by_auto,
            prefix=self.namespace,
        )
        pending, self._conf = self._conf, settings
        if isinstance(pending, PendingConfiguration):
            pending._loaded(settings)
        for fun in self._pending_defaults:
            settings.add_defaults(fun())
        self._pending_defaults.clear()
        while self._pending_periodic_tasks:
            key, entry = self._pending_periodic_tasks.popleft()
            self._add_periodic_task(key, entry)
        self.on_after_configure.send(sender=self, source=settings)
        return settings

    def either(self, default_key: str, *defaults: Any) -> Any:
        """Return the first of ``defaults`` that is not None, else the setting."""
        for value in defaults:
            if value is not None:
                return value
        return self.conf[default_key]

    def bugreport(self) -> str:
        """Return text about this app and its environment for a bug report."""
        return bugreport(self)

    @cached_property
    def annotations(self) -> list[Any]:
        """The prepared ``task_annotations``."""
        return prepare_annotations(self.conf.task_annotations)
