"""Connection parameters of the result backend: from its URL, the app's settings, and defaults.

`RedisBackend.connparams` is made here, as redis-py takes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ssl import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED, VerifyMode
from typing import Any

from kombu.utils.imports import symbol_by_name
from kombu.utils.url import _parse_url
from redis.connection import (
    URL_QUERY_ARGUMENT_PARSERS,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.credentials import CredentialProvider

from taskq.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

E_CERT_REQS = (
    "The URL of the Redis result backend begins with rediss://, so it must say how the server's "
    "certificate is checked: add ?ssl_cert_reqs=required (or optional, or none), or set it in "
    "redis_backend_use_ssl. It says {0!r}."
)
E_SSL_WITHOUT_TLS = (
    "The URL of the Redis result backend has TLS parameters ({0}), but begins with redis://: "
    "begin it with rediss://."
)
E_DATABASE = "The database in the URL of the Redis result backend must be a number, not {0!r}"
E_CREDENTIALS = "{0!r} in the URL of the Redis result backend is no redis.CredentialProvider"
W_CERTIFICATE = (
    "The certificate of the Redis server of the result backend is %s checked (ssl_cert_reqs=%s): "
    "somebody between can read and change results."
)

SOCKET_SCHEMES = frozenset({"socket", "redis+socket", "unix"})
_CERT_REQS = {
    "none": CERT_NONE,
    "optional": CERT_OPTIONAL,
    "required": CERT_REQUIRED,
}
#: Parameters that make no sense for a unix socket.
_TCP_ONLY = ("host", "port", "socket_connect_timeout", "socket_keepalive")


def default_parameters(conf: Any, max_connections: int | None) -> dict[str, Any]:
    """Return the parameters that the settings of the app give.

    - conf: the settings; those named ``redis_*``.
    - max_connections: wins over the setting.
    """
    parameters: dict[str, Any] = {
        "host": conf.get("redis_host") or "localhost",
        "port": conf.get("redis_port") or 6379,
        "db": conf.get("redis_db") or 0,
        "password": conf.get("redis_password"),
        "max_connections": max_connections,
        "socket_timeout": _seconds(conf.get("redis_socket_timeout")),
        "socket_connect_timeout": _seconds(conf.get("redis_socket_connect_timeout")),
        "retry_on_timeout": conf.get("redis_retry_on_timeout") or False,
        "client_name": conf.get("redis_client_name"),
    }
    for setting, name in (
        ("redis_username", "username"),
        ("redis_backend_health_check_interval", "health_check_interval"),
        ("redis_socket_keepalive", "socket_keepalive"),
    ):
        if conf.get(setting):
            parameters[name] = conf.get(setting)
    tls = conf.get("redis_backend_use_ssl")
    if tls:
        parameters.update(tls)
        parameters["connection_class"] = SSLConnection
    return parameters


def parameters_from_url(url: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return `defaults` with what a URL says.

    Raises ImproperlyConfigured, which is a ValueError as well, when it can't be understood.
    """
    scheme, host, port, username, password, path, query = _parse_url(url)
    parameters = {**defaults, **_parsed_query(query)}
    if username:
        parameters["username"] = username
    if password:
        parameters["password"] = password
    if scheme in SOCKET_SCHEMES:
        _use_unix_socket(parameters, path)
    else:
        parameters["host"] = host or parameters["host"]
        parameters["port"] = port or parameters["port"]
        if "db" not in query:
            parameters["db"] = _database(path or query.get("virtual_host"), parameters["db"])
        parameters.pop("virtual_host", None)
    _check_tls(scheme or "redis", parameters)
    _use_credential_provider(parameters)
    return parameters


def _seconds(value: Any) -> float | None:
    return float(value) if value else None


def _parsed_query(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters in a query, with the types that redis-py wants."""
    parsers: dict[str, Any] = dict(URL_QUERY_ARGUMENT_PARSERS)
    parsers.pop("ssl_cert_reqs", None)  # has a meaning of its own here
    return {name: parsers.get(name, str)(value) for name, value in query.items()}


def _use_unix_socket(parameters: dict[str, Any], path: str | None) -> None:
    for name in _TCP_ONLY:
        parameters.pop(name, None)
    virtual_host = parameters.pop("virtual_host", None)
    parameters["db"] = _database(virtual_host, parameters["db"])
    parameters["path"] = f"/{path or ''}"
    parameters["connection_class"] = UnixDomainSocketConnection


def _database(text: Any, default: int) -> int:
    text = str(text).strip("/") if text else ""
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise _invalid(E_DATABASE.format(text)) from None


def _check_tls(scheme: str, parameters: dict[str, Any]) -> None:
    """Decide on TLS, and how certificates are checked."""
    given = sorted(name for name in parameters if name.startswith("ssl_"))
    tls = scheme == "rediss" or parameters.get("connection_class") is SSLConnection
    if given and not tls:
        raise _invalid(E_SSL_WITHOUT_TLS.format(", ".join(given)))
    if not tls:
        return
    parameters["connection_class"] = SSLConnection
    mode = _verify_mode(parameters.get("ssl_cert_reqs"))
    parameters["ssl_cert_reqs"] = mode
    if mode is not CERT_REQUIRED:
        logger.warning(
            W_CERTIFICATE, "not" if mode is CERT_NONE else "not always", mode.name.lower()[5:]
        )


def _verify_mode(value: Any) -> VerifyMode:
    if isinstance(value, int):
        return VerifyMode(value)
    mode = _CERT_REQS.get(value.lower().removeprefix("cert_")) if value else None
    if mode is None:
        raise _invalid(E_CERT_REQS.format(value))
    return mode


def _use_credential_provider(parameters: dict[str, Any]) -> None:
    provider = parameters.pop("credential_provider", None)
    if not provider:
        return
    if isinstance(provider, str):
        provider = symbol_by_name(provider)()
    if not isinstance(provider, CredentialProvider):
        raise _invalid(E_CREDENTIALS.format(provider))
    parameters["credential_provider"] = provider
    parameters.pop("username", None)
    parameters.pop("password", None)


class InvalidBackendURL(ImproperlyConfigured, ValueError):
    """The URL of the result backend can't be used."""


def _invalid(message: str) -> InvalidBackendURL:
    return InvalidBackendURL(message)


__all__ = (
    "Connection",
    "InvalidBackendURL",
    "SSLConnection",
    "default_parameters",
    "parameters_from_url",
)
