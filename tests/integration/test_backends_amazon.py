"""Results in S3 and DynamoDB, on a server that speaks their protocols."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskq import TaskQ, states
from taskq.exceptions import ImproperlyConfigured
from tests.integration.project import Project
from tests.integration.store_support import check_workers

boto3 = pytest.importorskip("boto3", reason="needs boto3")

KEY = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}


class Store:
    """One of the two stores: its URL, its settings, and what is in it."""

    def __init__(self, kind: str, address: str, name: str) -> None:
        self.kind = kind
        self.name = name
        self.client: Any = boto3.client(kind, endpoint_url=address, **KEY)
        if kind == "s3":
            self.client.create_bucket(Bucket=name)
            self.url = "s3://"
            self.conf = {
                "s3_bucket": name,
                "s3_base_path": "results/",
                "s3_region": "us-east-1",
                "s3_endpoint_url": address,
                "s3_access_key_id": "key",
                "s3_secret_access_key": "secret",
            }
        else:
            self.url = f"dynamodb://key:secret@{address.removeprefix('http://')}/{name}"
            self.conf = {}

    def ids(self) -> set[str]:
        """The names of what is stored."""
        if self.kind == "s3":
            found = self.client.list_objects_v2(Bucket=self.name).get("Contents", ())
            return {item["Key"] for item in found}
        return {item["id"]["S"] for item in self.client.scan(TableName=self.name)["Items"]}

    def app(self, cls: Any = TaskQ, **conf: Any) -> Any:
        """An app with results here."""
        app = cls("t", backend=self.url, broker="memory://", set_as_current=False)
        app.conf.update({**self.conf, **conf})
        return app


@pytest.fixture(params=["s3", "dynamodb"])
def store(request: pytest.FixtureRequest, amazon_url: str, unique: str) -> Store:
    return Store(request.param, amazon_url, unique)


@pytest.fixture
def backend(store: Store) -> Iterator[Any]:
    app = store.app()
    yield app.backend
    app.close()


def test_states_and_results(backend: Any, store: Store) -> None:
    assert backend.get_state("one") == states.PENDING
    backend.store_result("one", {"a": [1, None]}, states.SUCCESS)
    backend.store_result("two", ValueError("no"), states.FAILURE, traceback="tb")
    assert backend.get_result("one") == {"a": [1, None]}
    assert isinstance(backend.get_result("two"), ValueError)
    backend.store_result("one", None, states.STARTED)
    assert backend.get_state("one") == states.SUCCESS, "a success stays"
    assert dict(backend.get_many(["one", "two"], timeout=20)).keys() == {"one", "two"}
    backend.forget("one")
    backend.forget("never stored")
    backend.reload_task_result("one")
    assert backend.get_state("one") == states.PENDING
    prefix = "results/celery-task-meta-" if store.kind == "s3" else "b'celery-task-meta-"
    assert all(name.startswith(prefix) for name in store.ids())


def test_groups(backend: Any, store: Store) -> None:
    app = backend.app
    group = app.GroupResult("group", [app.AsyncResult("one"), app.AsyncResult("two")])
    group.save(backend=backend)
    assert app.GroupResult.restore("group", backend=backend) == group
    group.delete(backend=backend)
    assert app.GroupResult.restore("group", backend=backend) is None
    assert store.ids() == set()


def test_more_keys_than_a_request_may_hold(backend: Any) -> None:
    keys = [f"key-{number}".encode() for number in range(230)]
    for key in keys[::2]:
        backend.set(key, b"value of " + key)
    values = backend.mget(keys)
    assert values[::2] == [b"value of " + key for key in keys[::2]]
    assert set(values[1::2]) == {None}


def test_compressed_and_binary_values(store: Store) -> None:
    app = store.app(result_compression="gzip", result_serializer="pickle")
    app.conf.result_accept_content = ["pickle"]
    app.backend.store_result("one", b"\x00\xff" * 1000, states.SUCCESS)
    assert app.backend.get_result("one") == b"\x00\xff" * 1000


def test_old_results_are_removed(backend: Any, store: Store) -> None:
    backend.store_result("one", 1, states.SUCCESS)
    backend.cleanup()
    assert len(store.ids()) == 1, "it is not old"
    # The service keeps whole seconds.
    backend.expires = 0.001
    deadline = time.monotonic() + 20
    while store.ids() and time.monotonic() < deadline:
        time.sleep(0.1)
        backend.cleanup()
    assert store.ids() == set()


def test_celery_reads_what_we_write_and_we_what_it_writes(store: Store) -> None:
    celery = pytest.importorskip("celery")
    ours, theirs = store.app(), store.app(celery.Celery)
    ours.backend.store_result("ours", {"a": 1}, states.SUCCESS)
    theirs.backend.store_result("theirs", {"b": 2}, states.SUCCESS)
    assert theirs.AsyncResult("ours").result == {"a": 1}
    assert ours.AsyncResult("theirs").result == {"b": 2}


def test_workers_store_results_and_chords_end(
    store: Store, sqlite_url: str, make_project: Callable[..., Project]
) -> None:
    check_workers(make_project, sqlite_url, store.url, store.conf)


class TestS3:
    def test_a_missing_bucket(self, amazon_url: str) -> None:
        app = Store("s3", amazon_url, "there").app(s3_bucket="not-there")
        app.conf.result_backend_max_retries = 0
        with pytest.raises(Exception, match="NoSuchBucket"):
            app.backend.store_result("one", 1, states.SUCCESS)
        with pytest.raises(Exception, match="NoSuchBucket"):
            app.backend.get_state("one")

    def test_settings(self) -> None:
        app = TaskQ("t", backend="s3://", set_as_current=False)
        with pytest.raises(ImproperlyConfigured, match="s3_bucket"):
            app.backend.get_state("one")
        app = TaskQ("t", backend="s3://", set_as_current=False)
        app.conf.update(s3_bucket="b", s3_access_key_id="only this")
        with pytest.raises(ImproperlyConfigured, match="s3_secret_access_key") as raised:
            app.backend.get_state("one")
        assert "only this" not in str(raised.value)


class TestDynamoDB:
    def test_options_of_the_url(self, amazon_url: str, unique: str) -> None:
        store = Store("dynamodb", amazon_url, unique)
        store.url += "?read=5&write=6&ttl_seconds=600"
        backend = store.app().backend
        before = time.time()
        backend.store_result("one", 1, states.SUCCESS)
        table = store.client.describe_table(TableName=unique)["Table"]
        assert table["ProvisionedThroughput"]["ReadCapacityUnits"] == 5
        assert table["ProvisionedThroughput"]["WriteCapacityUnits"] == 6
        ttl = store.client.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]
        assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "ttl")
        (item,) = store.client.scan(TableName=unique)["Items"]
        assert before + 599 <= int(item["ttl"]["N"]) <= time.time() + 601
        assert backend.supports_autoexpire
        assert backend.incr(b"count") == 1
        assert backend.incr(b"count") == 2
        backend.expire(b"count", 60)
        assert backend.get(b"count") == "2"
        assert "secret" not in backend.as_uri()

    @pytest.mark.parametrize(
        ("url", "error"),
        [
            ("dynamodb://only-key@us-east-1/t", "a key and its secret"),
            ("dynamodb://key:hunter2@us-east-1/t?ttl_seconds=soon", "ttl_seconds='soon'"),
            ("dynamodb://key:hunter2@us-east-1/t?read=0", "read='0'"),
        ],
    )
    def test_urls_that_make_no_sense(self, url: str, error: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=error) as raised:
            TaskQ("t", backend=url, set_as_current=False).backend.get_state("one")
        assert "hunter2" not in str(raised.value)

    def test_where_a_url_leads(self) -> None:
        def backend(url: str, **conf: Any) -> Any:
            app = TaskQ("t", backend=url, set_as_current=False)
            app.conf.update(conf)
            return app.backend

        at_amazon = backend("dynamodb://@eu-north-1/results")
        assert (at_amazon.aws_region, at_amazon.endpoint_url) == ("eu-north-1", None)
        assert at_amazon.table_name == "results"
        local = backend("dynamodb://@localhost:8123")
        assert (local.table_name, local.endpoint_url) == ("celery", "http://localhost:8123")
        other = backend("dynamodb://@us-east-1", dynamodb_endpoint_url="https://db.example")
        assert other.endpoint_url == "https://db.example"
