"""Results in MongoDB, on a server that speaks its protocol."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import TaskQ, states
from taskq.app.task import Context
from taskq.exceptions import BackendStoreError, ImproperlyConfigured
from tests.integration.project import Project
from tests.integration.store_support import check_workers

pytest.importorskip("pymongo", reason="needs pymongo")
pytest.importorskip("mongomock", reason="needs mongomock")

from tests.mongo_server import MongoServer


@pytest.fixture(scope="module")
def server() -> Iterator[MongoServer]:
    server = MongoServer()
    yield server
    server.stop()


class Store:
    """A database of the server's."""

    def __init__(self, server: MongoServer, name: str) -> None:
        self.url = f"mongodb://{server.address}/{name}"
        self.database = server.client[name]

    def documents(self, collection: str = "celery_taskmeta") -> dict[str, Any]:
        """What is in a collection, by id."""
        return {document["_id"]: document for document in self.database[collection].find()}

    def app(self, cls: Any = TaskQ, **conf: Any) -> Any:
        """An app with results here."""
        app = cls("t", backend=self.url, broker="memory://", set_as_current=False)
        app.conf.update(conf)
        return app


@pytest.fixture
def store(server: MongoServer, unique: str) -> Store:
    return Store(server, unique)


@pytest.fixture
def backend(store: Store) -> Iterator[Any]:
    app = store.app()
    yield app.backend
    app.close()


def test_states_and_results(backend: Any, store: Store) -> None:
    assert backend.get_state("one") == states.PENDING
    backend.store_result("one", None, states.STARTED)
    assert backend.get_state("one") == states.STARTED
    backend.store_result("one", {"a": [1, None]}, states.SUCCESS)
    backend.store_result("two", ValueError("no"), states.FAILURE, traceback="tb")
    assert backend.get_result("one") == {"a": [1, None]}
    assert isinstance(backend.get_result("two"), ValueError)
    assert backend.get_traceback("two") == "tb"
    backend.store_result("one", None, states.STARTED)
    backend.reload_task_result("one")
    assert backend.get_state("one") == states.SUCCESS, "a success stays"
    backend.store_result("two", "better", states.SUCCESS)
    assert backend.get_result("two") == "better"
    backend.forget("one")
    backend.forget("never stored")
    backend.reload_task_result("one")
    assert backend.get_state("one") == states.PENDING
    assert store.documents().keys() == {"two"}


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_serializers_and_compression(store: Store, serializer: str, compression: Any) -> None:
    app = store.app(result_serializer=serializer, result_compression=compression)
    app.conf.result_accept_content = [serializer]
    app.backend.store_result("one", {"text": "ä" * 1000}, states.SUCCESS)
    assert app.backend.get_result("one") == {"text": "ä" * 1000}


def test_extended_results(store: Store) -> None:
    app = store.app(result_extended=True)
    request = Context(
        id="one",
        task="t.add",
        args=[1, object()],
        kwargs={"a": 2},
        hostname="worker",
        delivery_info={"routing_key": "queue"},
        group="group",
        stamped_headers=["stamp"],
        stamps={"stamp": ["value"]},
    )
    app.backend.store_result("one", 3, states.SUCCESS, request=request)
    result = app.AsyncResult("one")
    assert (result.name, result.queue, result.worker) == ("t.add", "queue", "worker")
    assert result.kwargs == {"a": 2}
    assert "object object" in result.args, "what no document can hold is described"
    assert result._get_task_meta()["stamp"] == ["value"]
    assert store.documents()["one"]["group_id"] == "group"


def test_a_child_with_many_parents(store: Store) -> None:
    app = store.app()
    last = app.AsyncResult("0")
    for number in range(1, 120):
        last = app.AsyncResult(str(number), parent=last)
    request = Context(id="one")
    request.children.append(last)
    app.backend.store_result("one", 1, states.SUCCESS, request=request)

    def depth(value: Any) -> int:
        nested = value.values() if isinstance(value, dict) else value
        if not isinstance(value, (dict, list)):
            return 0
        return 1 + max(map(depth, nested), default=0)

    assert depth(store.documents()["one"]) < 100
    (child,) = app.AsyncResult("one").children
    assert (child.id, child.parent.id) == ("119", "118")


def test_groups(backend: Any, store: Store) -> None:
    app = backend.app
    inner = app.GroupResult("inner", [app.AsyncResult("two"), app.AsyncResult("three")])
    group = app.GroupResult("group", [app.AsyncResult("one"), inner], parent=app.AsyncResult("p"))
    group.save(backend=backend)
    restored = app.GroupResult.restore("group", backend=backend)
    assert restored == group
    assert restored.parent.id == "p"
    assert restored.results[1].results == inner.results
    group.delete(backend=backend)
    assert app.GroupResult.restore("group", backend=backend) is None
    assert store.documents("celery_groupmeta") == {}


def test_old_results_are_removed(backend: Any, store: Store) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    backend.store_result("runs", 1, states.STARTED)
    backend.app.GroupResult("group", [backend.app.AsyncResult("one")]).save(backend=backend)
    backend.cleanup()
    assert store.documents().keys() == {"one", "runs"}, "it is not old"
    backend.expires = 0.001
    time.sleep(0.01)
    backend.cleanup()
    assert store.documents().keys() == {"runs"}
    assert store.documents("celery_groupmeta") == {}
    backend.expires = None
    backend.cleanup()


def test_celery_reads_what_we_write_and_we_what_it_writes(store: Store) -> None:
    celery = pytest.importorskip("celery")
    ours, theirs = store.app(), store.app(celery.Celery)
    for app, name in ((ours, "ours"), (theirs, "theirs")):
        app.backend.store_result(name, {"a": 1}, states.SUCCESS)
        app.backend.store_result(f"{name}-failed", ValueError("no"), states.FAILURE, "tb")
        members = [app.AsyncResult("one"), app.AsyncResult("two")]
        app.GroupResult(f"{name}-group", members).save()
    for app, name in ((theirs, "ours"), (ours, "theirs")):
        assert app.AsyncResult(name).result == {"a": 1}
        failed = app.AsyncResult(f"{name}-failed")
        assert (repr(failed.result), failed.traceback) == ("ValueError('no')", "tb")
        group = app.GroupResult.restore(f"{name}-group")
        members = getattr(group, "results", group)  # Celery gives the list
        assert [result.id for result in members] == ["one", "two"]
    written = store.documents()
    for suffix in ("", "-failed"):
        mine, celerys = written[f"ours{suffix}"], written[f"theirs{suffix}"]
        assert mine.keys() == celerys.keys()
        assert mine["result"] == celerys["result"]
        assert type(mine["date_done"]) is type(celerys["date_done"])


def test_workers_store_results_and_chords_end(
    store: Store, sqlite_url: str, make_project: Callable[..., Project]
) -> None:
    check_workers(make_project, sqlite_url, store.url, {})


def test_a_server_that_is_away(unique: str) -> None:
    app = TaskQ("t", backend="mongodb://127.0.0.1:1", set_as_current=False)
    app.conf.mongodb_backend_settings = {"serverSelectionTimeoutMS": 50}
    app.conf.result_backend_always_retry = True
    app.conf.result_backend_max_retries = 2
    app.conf.result_backend_base_sleep_between_retries_ms = 1
    with pytest.raises(BackendStoreError):
        app.backend.store_result("one", 1, states.SUCCESS)


# -- addresses ----------------------------------------------------------------------


def backend_of(url: str, settings: Any = None) -> Any:
    app = TaskQ("t", backend=url, set_as_current=False)
    app.conf.mongodb_backend_settings = settings
    return app.backend


@pytest.mark.parametrize(
    ("url", "settings", "expected"),
    [
        ("mongodb://", None, (["localhost"], "celery", None, None)),
        ("mongodb", None, (None, "celery", None, None)),
        ("mongodb://h/results", None, (["h"], "results", None, None)),
        ("mongodb://a,b:3/results", None, (["a", "b:3"], "results", None, None)),
        ("mongodb://u:p%40@h/r?authSource=admin", None, (["h"], "r", "u", "p@")),
        ("mongodb://h/results", {"database": "d"}, (["h"], "d", None, None)),
        ("mongodb", {"host": ["a", "b"], "user": "u", "password": "p"}, (None, "celery", "u", "p")),
        ("mongodb+srv://h.example/r", None, (["h.example"], "r", None, None)),
        ("mongodb", {"host": "mongodb://u:p@h/r"}, (["h"], "r", "u", "p")),
    ],
)
def test_where_a_url_leads(url: str, settings: Any, expected: Any) -> None:
    backend = backend_of(url, settings)
    found = (backend.mongo_host, backend.database_name, backend.user, backend.password)
    assert found == expected


def test_settings() -> None:
    settings = {
        "taskmeta_collection": "tasks",
        "groupmeta_collection": "groups",
        "max_pool_size": 3,
        "options": {"appname": "a"},
        "connectTimeoutMS": 5,
    }
    backend = backend_of("mongodb://h/?retryWrites=false", settings)
    assert (backend.taskmeta_collection, backend.groupmeta_collection) == ("tasks", "groups")
    assert backend.options == {"maxPoolSize": 3, "appname": "a", "connectTimeoutMS": 5}
    assert backend._client.options.retry_writes is False
    assert backend_of("mongodb://h").options == {"maxPoolSize": 10}
    pool = backend_of("mongodb://u:p@h/?maxPoolSize=4&connectTimeoutMS=500")._client.options
    assert (pool.pool_options.max_pool_size, pool.pool_options.connect_timeout) == (4, 0.5)
    with pytest.raises(ImproperlyConfigured, match="must be a dict, not list"):
        backend_of("mongodb://h", ["database"])


def test_an_account_of_the_settings() -> None:
    settings = {"user": "u", "password": "p", "options": {"authSource": "admin"}}
    credentials = backend_of(
        "mongodb://h/results", settings
    )._client.options.pool_options._credentials
    assert (credentials.username, credentials.password, credentials.source) == ("u", "p", "admin")


def test_an_url_that_makes_no_sense() -> None:
    with pytest.raises(ImproperlyConfigured, match="Port") as raised:
        backend_of("mongodb://u:s3cret@h:port/results")
    assert "mongodb://u:**@h:port/results" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_the_password_is_masked() -> None:
    url = "mongodb://u:s3cret@a,b:3/results?replicaSet=r"
    backend = backend_of(url)
    assert backend.as_uri() == "mongodb://u:**@a,b:3/results"
    assert backend.as_uri(include_password=True) == url
    assert backend_of("mongodb", {"host": url}).as_uri() == "mongodb://u:**@a,b:3/results"


def test_it_can_be_pickled(backend: Any) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    again = pickle.loads(pickle.dumps(backend))
    assert again.get_result("one") == 1
