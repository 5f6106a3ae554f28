"""Copies of an app in other processes: after a fork, and through pickle.

A part of `TaskQ`.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from taskq.app.utils import AppPickler, _unpickle_app, _unpickle_app_v2


class Copies:
    """The part of an app that knows what a copy of it needs, and what it must not share."""

    main: str | None
    configured: bool
    fixups: Any
    namespace: str | None
    on_after_fork: Any
    amqp_cls: Any
    backend_cls: Any
    control_cls: Any
    events_cls: Any
    loader_cls: Any
    log_cls: Any
    task_cls: Any
    _conf: Any
    _config_source: Any
    _forget_pools: Callable[[], None]
    _local: Any
    _preconf: dict[str, Any]
    _using_v1_reduce: bool

    Pickler = AppPickler

    def _ensure_after_fork(self) -> None:
        """Have the app told when its process forks."""
        _forget_in_children(self)

    def _after_fork(self) -> None:
        """In a child: nothing of the parent's connections may be used."""
        self._forget_pools()
        self.__dict__.pop("oid", None)
        self._local = threading.local()
        self.on_after_fork.send(sender=self)

    def __reduce__(self) -> Any:
        if self._using_v1_reduce:
            return self.__reduce_v1__()
        return _unpickle_app_v2, (self.__class__, self.__reduce_keys__())

    def __reduce_v1__(self) -> Any:
        """Pickle as classes with their own ``__reduce_args__`` are."""
        return _unpickle_app, (self.__class__, self.Pickler, *self.__reduce_args__())

    def __reduce_keys__(self) -> dict[str, Any]:
        """Return the keyword arguments that make an app like this one."""
        return {
            "main": self.main,
            "changes": self._conf.changes if self.configured else self._preconf,
            "loader": self.loader_cls,
            "backend": self.backend_cls,
            "amqp": self.amqp_cls,
            "events": self.events_cls,
            "log": self.log_cls,
            "control": self.control_cls,
            "fixups": self.fixups,
            "config_source": self._config_source,
            "task_cls": self.task_cls,
            "namespace": self.namespace,
        }

    def __reduce_args__(self) -> tuple[Any, ...]:
        """Return positional arguments for the pickler of the first generation."""
        return (
            self.main,
            self._conf.changes if self.configured else {},
            self.loader_cls,
            self.backend_cls,
            self.amqp_cls,
            self.events_cls,
            self.log_cls,
            self.control_cls,
            False,
            self._config_source,
        )


_apps_with_connections: weakref.WeakSet[Copies] = weakref.WeakSet()


def _forget_in_children(app: Copies) -> None:
    _apps_with_connections.add(app)


def _after_fork_in_child() -> None:
    for app in list(_apps_with_connections):
        app._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
