"""The result backend for ``sentinel://`` URLs: Redis found through Sentinel."""

from __future__ import annotations

from typing import Any

from kombu.utils.url import maybe_sanitize_url
from redis import Redis
from redis.connection import SSLConnection
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

from taskq.backends.redis.backend import RedisBackend
from taskq.backends.redis.parameters import InvalidBackendURL

__all__ = ("SentinelBackend",)

SEPARATOR = ";"


class SentinelBackend(RedisBackend):
    """Results in the Redis server that sentinels name as the primary.

    The URL lists the sentinels: ``sentinel://host:port/db;sentinel://host:port/db``. Options
    (`result_backend_transport_options`) beside those of `RedisBackend`: ``master_name``, required;
    ``sentinel_kwargs``, parameters of the connections to the sentinels; ``min_other_sentinels``.
    """

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URLs of the sentinels, without passwords unless asked for them."""
        urls = (self.url or "").split(SEPARATOR)
        return SEPARATOR.join(
            url if include_password else str(maybe_sanitize_url(url)) for url in urls
        )

    def _params_from_url(self, url: str, defaults: dict[str, Any]) -> dict[str, Any]:
        hosts = [
            super(SentinelBackend, self)._params_from_url(each.strip(), defaults)
            for each in url.split(SEPARATOR)
            if each.strip()
        ]
        common = {name: value for name, value in hosts[0].items() if name not in ("host", "port")}
        return {**common, "hosts": hosts}

    def _get_pool(self, **params: Any) -> Any:
        options = self._transport_options
        master_name = options.get("master_name")
        if not master_name:
            raise InvalidBackendURL(
                "The sentinel:// result backend needs the name of the group of servers: set "
                "result_backend_transport_options = {'master_name': …}"
            )
        hosts = params.pop("hosts")
        tls = params.pop("connection_class", None) is SSLConnection
        sentinel = Sentinel(
            [(host["host"], host["port"]) for host in hosts],
            min_other_sentinels=options.get("min_other_sentinels", 0),
            sentinel_kwargs=options.get("sentinel_kwargs"),
            **params,
        )
        client = sentinel.master_for(
            master_name,
            Redis,
            connection_class=SentinelManagedSSLConnection if tls else SentinelManagedConnection,
        )
        return client.connection_pool
