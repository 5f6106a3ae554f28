"""Django: settings, clock, task discovery, and database connections around tasks.

Applied to every app where ``DJANGO_SETTINGS_MODULE`` is set; `DjangoFixup` is its half in any
process, `DjangoWorkerFixup` the half in workers.
"""

from __future__ import annotations

import os
import sys
import warnings
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from typing import Any

from taskq import signals
from taskq._state import _get_current_app
from taskq.exceptions import FixupWarning, ImproperlyConfigured
from taskq.local import Proxy
from taskq.utils.imports import symbol_by_name

__all__ = ("DjangoFixup", "fixup")

#: Oldest version of Django whose interfaces are used here.
MINIMUM_DJANGO = (2, 2)

ERR_NOT_INSTALLED = (
    "DJANGO_SETTINGS_MODULE is set but Django is not installed, so nothing is done for Django. "
    "Install it (pip install taskq[django]) or unset the variable."
)

#: Task class of Django projects, unless the app has one of its own.
_TASK_CLASS = "taskq.contrib.django.task:DjangoTask"
_STANDARD_TASK_CLASSES = ("taskq.app.task:Task", "celery.app.task:Task")


def fixup(app: Any, env: str = "DJANGO_SETTINGS_MODULE") -> DjangoFixup | None:
    """Apply the fixup to ``app`` if this is a Django project, and return it.

    - env: environment variable that names the settings module.

    Raises ImproperlyConfigured for a Django that is too old.
    """
    module = os.environ.get(env)
    if not module or "django" in (app.loader_cls or "").lower():
        return None
    try:
        import django
    except ImportError:
        warnings.warn(FixupWarning(ERR_NOT_INSTALLED), stacklevel=2)
        return None
    if django.VERSION < MINIMUM_DJANGO:
        wanted = ".".join(map(str, MINIMUM_DJANGO))
        raise ImproperlyConfigured(
            f"taskq needs Django {wanted} or later, not {django.__version__}."
        )
    return DjangoFixup(app).install()


class DjangoFixup:
    """What Django needs in any process: its clock, its list of applications, its task class."""

    def __init__(self, app: Any) -> None:
        self.app = _unwrap(app)
        if _get_current_app() is None:
            self.app.set_default()
        self._worker_fixup: DjangoWorkerFixup | None = None

    def install(self) -> DjangoFixup:
        """Connect to the app's start and the worker's; return self."""
        # A project's modules are found beside manage.py.
        sys.path.insert(0, os.getcwd())
        self._settings = symbol_by_name("django.conf:settings")
        self.app.loader.now = self.now
        if self._has_standard_task_class():
            self.app.task_cls = _TASK_CLASS
        signals.import_modules.connect(self.on_import_modules)
        signals.worker_init.connect(self.on_worker_init)
        return self

    def _has_standard_task_class(self) -> bool:
        cls = self.app.task_cls
        return (cls if isinstance(cls, str) else None) in _STANDARD_TASK_CLASSES

    @property
    def worker_fixup(self) -> DjangoWorkerFixup:
        """The half for workers, made when first asked for."""
        if self._worker_fixup is None:
            self._worker_fixup = DjangoWorkerFixup(self.app)
        return self._worker_fixup

    @worker_fixup.setter
    def worker_fixup(self, value: DjangoWorkerFixup) -> None:
        self._worker_fixup = value

    def on_import_modules(self, **kwargs: Any) -> None:
        """Have Django ready before tasks are imported, and its checks run."""
        self.worker_fixup.django_setup()
        self.worker_fixup.validate_models()

    def on_worker_init(self, **kwargs: Any) -> None:
        """Install the half for workers in a worker that starts."""
        self.worker_fixup.worker = kwargs.get("sender")
        self.worker_fixup.install()

    def now(self, utc: bool = False) -> datetime:
        """Return the time as Django has it; in UTC if asked."""
        if utc:
            return datetime.now(UTC)
        now: datetime = self._now()
        return now

    def autodiscover_tasks(self) -> list[str]:
        """Return the packages of Django's applications, where tasks are looked for."""
        from django.apps import apps

        return [config.name for config in apps.get_app_configs()]

    @cached_property
    def _now(self) -> Any:
        return symbol_by_name("django.utils.timezone:now")


class DjangoWorkerFixup:
    """What Django needs in a worker: no connection shared by processes or kept when it is stale.

    Connections are closed before and after each task if Django deems them unusable or too old
    (``CONN_MAX_AGE``), or every ``CELERY_DB_REUSE_MAX`` tasks where that is set.
    """

    _db_recycles = 0
    #: The worker that runs here.
    worker: Any = None

    def __init__(self, app: Any) -> None:
        self.app = _unwrap(app)
        self.db_reuse_max = self.app.conf.get("CELERY_DB_REUSE_MAX", None)
        self._db = import_module("django.db")
        self._cache = import_module("django.core.cache")
        self._settings = symbol_by_name("django.conf:settings")
        self.interface_errors: tuple[type[Exception], ...] = (
            symbol_by_name("django.db.utils:InterfaceError"),
        )
        self.DatabaseError: type[Exception] = symbol_by_name("django.db:DatabaseError")

    def django_setup(self) -> None:
        """Load Django's applications."""
        import django

        django.setup()

    def validate_models(self) -> None:
        """Run Django's system checks, unless ``--skip-checks`` said not to."""
        self.django_setup()
        if os.environ.get("TASKQ_SKIP_CHECKS") or os.environ.get("CELERY_SKIP_CHECKS"):
            return
        from django.core.checks import run_checks

        run_checks()

    def install(self) -> DjangoWorkerFixup:
        """Connect to the life of the worker's processes and tasks; return self."""
        signals.beat_embedded_init.connect(self.close_database)
        signals.task_prerun.connect(self.on_task_prerun)
        signals.task_postrun.connect(self.on_task_postrun)
        signals.worker_process_init.connect(self.on_worker_process_init)
        self.close_database()
        self.close_cache()
        return self

    def on_worker_process_init(self, **kwargs: Any) -> None:
        """Drop the connections that a pool process inherited; they are its parent's.

        The sockets are closed without a word to the server, which would end the parent's session.
        """
        if os.environ.get("FORKED_BY_MULTIPROCESSING"):
            self.validate_models()  # a fresh interpreter: the parent's checks were not ours
        for connection in self._open_connections():
            self._maybe_close_db_fd(connection)
        self._close_database()
        self.close_cache()

    def _maybe_close_db_fd(self, c: Any) -> None:
        try:
            _close_socket(c.connection)
        except self.interface_errors:
            return  # it was closed

    def on_task_prerun(self, sender: Any, **kwargs: Any) -> None:
        """Give a task that starts a connection that works."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()

    def on_task_postrun(self, sender: Any, **kwargs: Any) -> None:
        """Close what a task left open; one that was called directly is part of its caller."""
        if not getattr(sender.request, "is_eager", False):
            self.close_database()
            self.close_cache()

    def close_database(self, **kwargs: Any) -> None:
        """Close stale connections, or where reuse is limited, all after so many calls."""
        if not self.db_reuse_max:
            self._close_database()
        elif self._db_recycles >= self.db_reuse_max * 2:  # called twice for each task
            self._db_recycles = 0
            self._close_database(force=True)
        self._db_recycles += 1

    def _is_prefork(self) -> bool:
        """Return whether tasks run in processes of their own."""
        pool = getattr(self.worker, "pool_cls", None)
        module = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
        return "prefork" in module or "processes" in module

    def _close_database(self, force: bool = False) -> None:
        for connection in self._open_connections():
            try:
                if force:
                    connection.close()
                else:
                    connection.close_if_unusable_or_obsolete()
            except self.interface_errors:
                continue  # it was closed by the server
            except self.DatabaseError as exc:
                message = str(exc)
                if "closed" not in message and "not connected" not in message:
                    raise

    def _open_connections(self) -> list[Any]:
        handler = self._db.connections
        try:
            return list(handler.all(initialized_only=True))
        except TypeError:  # before Django 4.1
            return [c for c in handler.all() if c.connection is not None]

    def close_cache(self) -> None:
        """Close the connections of Django's cache."""
        self._cache.close_caches()


def _close_socket(connection: Any) -> None:
    """Close the descriptor under a database driver's connection; nothing is sent."""
    fileno = getattr(connection, "fileno", None)
    if fileno is None:
        return  # not a network connection, such as SQLite's
    try:
        os.close(fileno())
    except (OSError, ValueError):
        return  # closed already


def _unwrap(app: Any) -> Any:
    """Return the app itself where a proxy was given."""
    return app._get_current_object() if isinstance(app, Proxy) else app
