"""Backends by name and URL."""

from __future__ import annotations

import sys
import types

import pytest

from taskq.app import backends
from taskq.backends.base import DisabledBackend
from taskq.backends.cache import CacheBackend
from taskq.backends.filesystem import FilesystemBackend
from taskq.backends.rpc import RPCBackend
from taskq.exceptions import ImproperlyConfigured


class Loader:
    override_backends: dict[str, str] = {}


@pytest.mark.parametrize(
    ("given", "cls", "url"),
    [
        (None, DisabledBackend, None),
        ("", DisabledBackend, None),
        ("disabled", DisabledBackend, None),
        ("rpc", RPCBackend, None),
        ("rpc://", RPCBackend, "rpc://"),
        ("cache+memory://", CacheBackend, "memory://"),
        ("cache+memcached://a:1;b:2/", CacheBackend, "memcached://a:1;b:2/"),
        ("file:///tmp/x", FilesystemBackend, "file:///tmp/x"),
        ("taskq.backends.rpc:RPCBackend", RPCBackend, None),
        ("taskq.backends.rpc.RPCBackend", RPCBackend, None),
        (RPCBackend, RPCBackend, None),
    ],
)
def test_by_url(given: object, cls: type, url: str | None) -> None:
    assert backends.by_url(given, Loader()) == (cls, url)


def test_database_urls_lose_their_prefix() -> None:
    pytest.importorskip("sqlalchemy")
    cls, url = backends.by_url("db+postgresql+psycopg://root@localhost/test", Loader())
    assert cls.__name__ == "DatabaseBackend"
    assert url == "postgresql+psycopg://root@localhost/test"


@pytest.mark.parametrize("given", ["nope", "nope://", "nope+thing://user:secret@host"])
def test_an_unknown_backend_names_the_known(given: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="'nope'") as failed:
        backends.by_url(given, Loader())
    assert "redis" in str(failed.value)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("given", ["couchdb://host", "consul", "elasticsearch://"])
def test_a_backend_of_another_version_says_so(given: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="not available in this version"):
        backends.by_url(given, Loader())


def test_a_module_is_no_backend() -> None:
    with pytest.raises(ImproperlyConfigured, match="is a Python module"):
        backends.by_name("taskq.backends.base", Loader())


def test_the_loader_comes_first() -> None:
    loader = Loader()
    loader.override_backends = {"rpc": "taskq.backends.base:DisabledBackend"}
    assert backends.by_name("rpc", loader) is DisabledBackend


@pytest.mark.parametrize("group", ["taskq.result_backends", "celery.result_backends"])
def test_installed_packages_add_backends(
    group: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("some_installed_package")
    module.Backend = RPCBackend  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_installed_package", module)
    info = f"{tmp_path}/some_installed_package-1.0.dist-info"
    import pathlib

    pathlib.Path(info).mkdir()
    pathlib.Path(info, "METADATA").write_text(
        "Metadata-Version: 2.1\nName: some-installed-package\nVersion: 1.0\n"
    )
    pathlib.Path(info, "entry_points.txt").write_text(
        f"[{group}]\nextra = some_installed_package:Backend\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert backends.by_url("extra://host", Loader()) == (RPCBackend, "extra://host")
