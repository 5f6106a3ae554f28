"""Results in memcached (``cache+memcached://``) or in this process (``cache+memory://``).

Keys and values are Celery's; servers are chosen for a key as Celery does with pymemcache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskq.backends.keyvalue import KeyValueStoreBackend
from taskq.exceptions import ImproperlyConfigured

__all__ = ("CacheBackend",)

#: Seconds: memcached takes a longer time for a point in time.
MAX_RELATIVE_EXPIRES = 30 * 24 * 60 * 60

DEFAULT_PORT = 11211

#: Of the options for pymemcache, unless `cache_backend_options` says otherwise. Times in seconds.
DEFAULT_CLIENT_OPTIONS = {"default_noreply": False, "connect_timeout": 5.0, "timeout": 5.0}

#: Options of other client libraries that old configurations carry; pymemcache has none such.
PYLIBMC_ONLY_OPTIONS = ("behaviors", "binary")

UNKNOWN_BACKEND = """\
The cache backend {0!r} is unknown,
Please use one of the following backends instead: {1}\
"""

#: What ``cache+memory://`` keeps, for all apps of the process: value and expiry by key.
_memory: dict[bytes, tuple[Any, float | None]] = {}


class DummyClient:
    """Keeps keys in this process, for tests and eager experiments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.cache = _memory
        self._lock = threading.Lock()

    def _live(self, key: bytes) -> Any:
        value, expires = self.cache.get(key, (None, None))
        if expires is not None and expires <= time.monotonic():
            self.cache.pop(key, None)
            return None
        return value

    def get(self, key: bytes, *args: Any, **kwargs: Any) -> Any:
        """Return the value under `key`, None if there is none."""
        return self._live(key)

    def get_multi(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Return the values under those of the keys that have one."""
        found = {key: self._live(key) for key in keys}
        return {key: value for key, value in found.items() if value is not None}

    get_many = get_multi

    def set(self, key: bytes, value: Any, expire: float = 0, **kwargs: Any) -> None:
        """Store `value` under `key`, for `expire` seconds if that is not 0."""
        self.cache[key] = value, _expiry(expire)

    def add(self, key: bytes, value: Any, expire: float = 0, **kwargs: Any) -> bool:
        """Store `value` unless there is one under `key`; return whether it was."""
        with self._lock:
            if self._live(key) is not None:
                return False
            self.set(key, value, expire)
            return True

    def delete(self, key: bytes, *args: Any, **kwargs: Any) -> None:
        """Remove `key`."""
        self.cache.pop(key, None)

    def incr(self, key: bytes, delta: int = 1) -> int | None:
        """Add `delta` to the number under `key` and return it; None if there is none."""
        with self._lock:
            value = self._live(key)
            if value is None:
                return None
            value = int(value) + delta
            self.cache[key] = value, self.cache[key][1]
            return int(value)

    def touch(self, key: bytes, expire: float) -> None:
        """Let `key` vanish in `expire` seconds."""
        value = self._live(key)
        if value is not None:
            self.cache[key] = value, _expiry(expire)


def _expiry(expire: float) -> float | None:
    return time.monotonic() + expire if expire else None


def get_best_memcache(*args: Any, **kwargs: Any) -> Callable[..., Any]:
    """Return a function that makes a client for a list of servers and options.

    Raises:
        ImproperlyConfigured: pymemcache is not installed.
    """
    try:
        from pymemcache.client.base import PooledClient
        from pymemcache.client.hash import HashClient
    except ImportError:
        raise ImproperlyConfigured(
            "The Memcached backend requires the 'pymemcache' library: pip install taskq[pymemcache]"
        ) from None

    def make_client(servers: Sequence[str], **options: Any) -> Any:
        """Return a client that threads can share."""
        settings = {**DEFAULT_CLIENT_OPTIONS, **options}
        for name in PYLIBMC_ONLY_OPTIONS:
            settings.pop(name, None)
        addresses = [parse_server(server) for server in servers]
        if len(addresses) == 1:
            return PooledClient(addresses[0], **settings)
        return HashClient(addresses, use_pooling=True, **settings)

    return make_client


def parse_server(server: str) -> Any:
    """Return what pymemcache wants of ``host``, ``host:port`` or the path of a socket."""
    if server.startswith("/"):
        return server
    host, _, port = server.rpartition(":")
    if not host or "]" in port:
        return server.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port)


#: Kinds of caches: functions that return a function that makes a client.
backends: dict[str, Callable[[], Callable[..., Any]]] = {
    "memcache": get_best_memcache,
    "memcached": get_best_memcache,
    "pylibmc": get_best_memcache,
    "pymemcache": get_best_memcache,
    "memory": lambda: DummyClient,
}


class CacheBackend(KeyValueStoreBackend):
    """Stores results in memcached, or in memory.

    Parameters:
        app: the app.
        expires: seconds that results are kept (`result_expires`).
        backend: URL of the servers, separated by ``;`` (`cache_backend` when None).
        options: for the client, over `cache_backend_options`.
        url: what came after ``cache+`` in `result_backend`.
    """

    #: Addresses of the servers.
    servers: list[str] = []
    supports_autoexpire = True
    supports_native_join = True
    implements_incr = True

    def __init__(
        self,
        app: Any,
        expires: float | timedelta | None = None,
        backend: str | None = None,
        options: dict[str, Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(app, expires=expires, expires_type=int, url=url, **kwargs)
        self.options = {**(app.conf.cache_backend_options or {}), **(options or {})}
        self.backend = url or backend or app.conf.cache_backend
        if self.backend and "://" in self.backend:
            self.backend, _, servers = self.backend.partition("://")
            self.servers = servers.rstrip("/").split(";")
        try:
            self.Client = backends[self.backend or ""]()
        except KeyError:
            known = ", ".join(sorted(backends))
            raise ImproperlyConfigured(UNKNOWN_BACKEND.format(self.backend, known)) from None
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The client, made on first use."""
        if self._client is None:
            self._client = self.Client(self.servers, **self.options)
        return self._client

    def _after_fork(self) -> None:
        super()._after_fork()
        self._client = None

    def get(self, key: Any) -> Any:
        """Return the value under `key`, None if there is none."""
        return self.client.get(key)

    def mget(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """Return the values under those of the keys that have one."""
        return self.client.get_many(list(keys))  # type: ignore[no-any-return]

    def set(self, key: Any, value: Any) -> Any:
        """Store `value` for as long as results are kept."""
        return self.client.set(key, ensure_bytes(value), expire=memcached_time(self.expires))

    def delete(self, key: Any) -> Any:
        """Remove `key`."""
        return self.client.delete(key)

    def incr(self, key: Any) -> int:
        """Add one to the number under `key`, which starts at 0."""
        count = self.client.incr(key, 1)
        if count is None:
            self.client.add(key, b"0", expire=memcached_time(self._chord_result_expires))
            count = self.client.incr(key, 1)
        return int(count)

    def expire(self, key: Any, value: Any) -> Any:
        """Let `key` vanish in `value` seconds."""
        return self.client.touch(key, memcached_time(value))

    def _hold(self, key: Any, name: str) -> str:
        if self.client.add(key, name, expire=memcached_time(self._chord_result_expires)):
            return name
        found = self.client.get(key)
        # Removed meanwhile: whoever held it is done.
        return "" if found is None else str(bytes_to_str(found))

    def _first_time(self, key: Any) -> bool:
        expire = memcached_time(self._chord_result_expires)
        return bool(self.client.add(key, b"1", expire=expire))

    def _apply_chord_incr(
        self, header_result_args: tuple[Any, ...], body: Any, **kwargs: Any
    ) -> None:
        expire = memcached_time(self._chord_result_expires)
        self.client.set(self.get_key_for_chord(header_result_args[0]), b"0", expire=expire)
        super()._apply_chord_incr(header_result_args, body, **kwargs)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True for lost connections and servers that are away."""
        return isinstance(exc, OSError) or type(exc).__name__ == "MemcacheUnexpectedCloseError"

    def as_uri(self, include_password: bool = False, *args: Any, **kwargs: Any) -> str:
        """Return the kind of cache and the servers as a URL; passwords masked unless asked for."""
        servers = self.servers if include_password else map(_masked, self.servers)
        return f"{self.backend}://{';'.join(servers)}/"

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        own = {
            "backend": self.as_uri(include_password=True),
            "expires": self.expires,
            "options": self.options,
        }
        return super().__reduce__(args, {**(kwargs or {}), **own})


def _masked(server: str) -> str:
    """Return a server without the password in front of its name."""
    account, at, host = server.rpartition("@")
    user, colon, _ = account.partition(":")
    return f"{user}:**@{host}" if at and colon else server


def memcached_time(seconds: float | None) -> int:
    """Return an expiry as memcached wants it: seconds up to 30 days, else a point in time."""
    if not seconds:
        return 0
    if seconds > MAX_RELATIVE_EXPIRES:
        return int(time.time() + seconds)
    return max(1, int(seconds))
