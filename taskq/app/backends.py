"""Finding the class of a result backend by its name or URL.

Used by the app for `result_backend`. The names are data; entry points add to them.
"""

from __future__ import annotations

import types
from typing import Any

from taskq._state import current_app
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.imports import symbol_by_name

__all__ = ("BACKEND_ALIASES", "by_name", "by_url")

#: Names of backends, which are also the schemes of their URLs.
BACKEND_ALIASES: dict[str, str] = {
    "sqlite": "taskq.backends.sqlite:SQLiteBackend",
    "redis": "taskq.backends.redis:RedisBackend",
    "rediss": "taskq.backends.redis:RedisBackend",
    "redis+socket": "taskq.backends.redis:RedisBackend",
    "socket": "taskq.backends.redis:RedisBackend",
    "sentinel": "taskq.backends.redis:SentinelBackend",
    "rpc": "taskq.backends.rpc:RPCBackend",
    "db": "taskq.backends.database:DatabaseBackend",
    "database": "taskq.backends.database:DatabaseBackend",
    "cache": "taskq.backends.cache:CacheBackend",
    "file": "taskq.backends.filesystem:FilesystemBackend",
    "filesystem": "taskq.backends.filesystem:FilesystemBackend",
    "mongodb": "taskq.backends.mongodb:MongoBackend",
    "mongodb+srv": "taskq.backends.mongodb:MongoBackend",
    "s3": "taskq.backends.s3:S3Backend",
    "dynamodb": "taskq.backends.dynamodb:DynamoDBBackend",
    "disabled": "taskq.backends.base:DisabledBackend",
}

#: Celery's backends that this version does not have.
ABSENT = frozenset(
    {
        "amqp",
        "arangodb",
        "azureblockblob",
        "cassandra",
        "consul",
        "cosmosdbsql",
        "couchbase",
        "couchdb",
        "elasticsearch",
        "gs",
        "riak",
    }
)

#: Entry points that name backends; the first that has a name wins.
ENTRY_POINT_GROUPS = ("taskq.result_backends", "celery.result_backends")

UNKNOWN_BACKEND = """
Unknown result backend: {0!r}.  Did you spell that correctly? ({1})
"""
ABSENT_BACKEND = (
    "The {0!r} result backend is not available in this version of taskq. Available are: {1}."
)


def by_name(
    backend: Any = None,
    loader: Any = None,
    extension_namespace: str = "celery.result_backends",
) -> Any:
    """Return the backend class of this name.

    Parameters:
        backend: an alias, an import path (``pkg.mod:Class``), or the class itself. None or an
            empty string is the disabled backend.
        loader: its `override_backends` come before `BACKEND_ALIASES`.
        extension_namespace: group of entry points to look in, besides ``taskq.result_backends``.

    Raises:
        ImproperlyConfigured: there is no such backend.
    """
    backend = backend or "disabled"
    if isinstance(backend, type):
        return backend
    loader = loader or current_app.loader
    aliases = {**BACKEND_ALIASES, **_overrides(loader)}
    if backend not in aliases:
        aliases.update(_extensions(backend, extension_namespace))
    if backend not in aliases and backend in ABSENT:
        known = ", ".join(sorted(aliases))
        raise ImproperlyConfigured(ABSENT_BACKEND.format(backend, known))
    if isinstance(backend, str) and backend not in aliases and not _is_import_path(backend):
        known = "known are: " + ", ".join(sorted(aliases))
        raise ImproperlyConfigured(UNKNOWN_BACKEND.strip().format(backend, known))
    try:
        cls = symbol_by_name(backend, aliases)
    except ValueError as exc:
        raise ImproperlyConfigured(UNKNOWN_BACKEND.strip().format(backend, exc)) from exc
    if isinstance(cls, types.ModuleType):
        reason = "is a Python module, not a backend class."
        raise ImproperlyConfigured(UNKNOWN_BACKEND.strip().format(backend, reason))
    return cls


def by_url(backend: Any = None, loader: Any = None) -> tuple[Any, str | None]:
    """Return the backend class for a URL, and the URL to give it.

    ``scheme+rest://…`` names the backend `scheme` and gives it ``rest://…``, unless the whole of
    ``scheme+rest`` is the name of one.

    Parameters:
        backend: a URL, or what `by_name` takes.
        loader: see `by_name`.

    Raises:
        ImproperlyConfigured: there is no such backend.
    """
    url = None
    if isinstance(backend, str) and "://" in backend:
        url = backend
        scheme = url.partition("://")[0]
        if "+" in scheme and scheme not in BACKEND_ALIASES:
            scheme, _, url = url.partition("+")
        try:
            return by_name(scheme, loader), url
        except ImproperlyConfigured as exc:
            from kombu.utils.url import maybe_sanitize_url  # costs start-up time

            hint = f" (in {maybe_sanitize_url(backend)})"
            raise ImproperlyConfigured(f"{exc}{hint}") from exc
    return by_name(backend, loader), url


def _is_import_path(name: str) -> bool:
    return "." in name or ":" in name


def _overrides(loader: Any) -> dict[str, str]:
    return dict(getattr(loader, "override_backends", None) or {})


def _extensions(name: str, namespace: str) -> dict[str, Any]:
    """Return what installed packages call `name`; they are only asked about unknown names."""
    from importlib.metadata import entry_points

    for group in dict.fromkeys((*ENTRY_POINT_GROUPS, namespace)):
        for entry_point in entry_points(group=group, name=name):
            return {name: entry_point.value}
    return {}
