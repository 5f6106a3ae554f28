"""``cache+memory://`` and what the cache backend does before it talks to a server."""

from __future__ import annotations

import pickle
import time
from typing import Any

import pytest

from taskq import TaskQ
from taskq.backends.cache import DummyClient, memcached_time, parse_server
from taskq.exceptions import ImproperlyConfigured


def make(url: str, **settings: Any) -> Any:
    app = TaskQ("cache", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app.backend


def test_apps_of_one_process_share_the_memory(backend: Any) -> None:
    backend.store_result("a", 1, "SUCCESS")
    assert make("cache+memory://").get_result("a") == 1


def test_values_expire() -> None:
    client = DummyClient()
    client.set(b"k", b"v", expire=0.01)
    time.sleep(0.02)
    assert client.get(b"k") is None
    assert client.get_multi([b"k"]) == {}
    client.cache.clear()


def test_counting_starts_at_one(backend: Any) -> None:
    assert [backend.incr(b"n"), backend.incr(b"n")] == [1, 2]
    backend.expire(b"n", 100)
    backend.delete(b"n")
    assert backend.get(b"n") is None


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("localhost", ("localhost", 11211)),
        ("localhost:21", ("localhost", 21)),
        ("[::1]:21", ("::1", 21)),
        ("[::1]", ("::1", 11211)),
        ("/run/memcached.sock", "/run/memcached.sock"),
    ],
)
def test_addresses(server: str, address: Any) -> None:
    assert parse_server(server) == address


def test_times_over_thirty_days_are_points_in_time() -> None:
    assert memcached_time(None) == 0
    assert memcached_time(0.2) == 1
    assert memcached_time(3600) == 3600
    assert memcached_time(40 * 86400) > time.time() + 39 * 86400


def test_an_unknown_cache_names_the_known_ones() -> None:
    with pytest.raises(ImproperlyConfigured, match="memcached"):
        make("cache+nowhere://")


def test_the_setting_names_the_cache() -> None:
    assert make("cache", cache_backend="memory://").backend == "memory"


def test_the_servers_are_in_the_uri() -> None:
    backend = make("cache+memcached://10.0.0.1:11211;10.0.0.2:11211/")
    assert backend.servers == ["10.0.0.1:11211", "10.0.0.2:11211"]
    assert backend.as_uri() == "memcached://10.0.0.1:11211;10.0.0.2:11211/"


def test_passwords_are_masked_and_kept() -> None:
    url = "memcached://user:secret@10.0.0.1:11211;10.0.0.2:11211/"
    backend = make(f"cache+{url}")
    assert backend.as_uri() == "memcached://user:**@10.0.0.1:11211;10.0.0.2:11211/"
    assert backend.as_uri(include_password=True) == url
    assert pickle.loads(pickle.dumps(backend)).servers == backend.servers
