"""Reading and writing metas, on a store in memory."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.backends import cache
from taskq.backends.base import (
    COMPRESSED_PAYLOAD_MAGIC,
    BaseBackend,
    compress_payload,
    decompress_payload,
)
from taskq.exceptions import BackendGetMetaError, BackendStoreError, ImproperlyConfigured
from taskq.result import AsyncResult


def stored(task_id: str = "a") -> dict[str, Any]:
    value, _ = cache._memory[f"celery-task-meta-{task_id}".encode()]
    found: dict[str, Any] = json.loads(value)
    return found


def request(**attributes: Any) -> Context:
    defaults = {
        "id": "a",
        "task": "proj.add",
        "args": [1],
        "kwargs": {"y": 2},
        "hostname": "w1@host",
        "retries": 3,
        "delivery_info": {"routing_key": "celery"},
        "group": None,
        "parent_id": None,
    }
    return Context({**defaults, **attributes})


class TestMeta:
    def test_of_a_result(self, backend: Any) -> None:
        backend.store_result("a", {"x": 1}, "SUCCESS")
        meta = stored()
        assert list(meta) == [
            "status",
            "result",
            "traceback",
            "children",
            "date_done",
            "task_id",
        ]
        assert meta["status"] == "SUCCESS"
        assert meta["result"] == {"x": 1}
        assert meta["task_id"] == "a"
        assert datetime.fromisoformat(meta["date_done"]).tzinfo is not None

    def test_of_a_failure(self, backend: Any) -> None:
        backend.store_result("a", ValueError("x"), "FAILURE", traceback="Traceback …")
        meta = stored()
        assert meta["traceback"] == "Traceback …"
        assert meta["result"] == {
            "exc_type": "ValueError",
            "exc_message": ["x"],
            "exc_module": "builtins",
        }

    @pytest.mark.parametrize("state", ["STARTED", "RETRY", "PROGRESS"])
    def test_a_task_that_is_not_ready_has_no_date(self, backend: Any, state: str) -> None:
        backend.store_result("a", None, state)
        assert stored()["date_done"] is None

    def test_group_and_parent(self, backend: Any) -> None:
        backend.store_result("a", 1, "SUCCESS", request=request(group="g", parent_id="p"))
        meta = stored()
        assert (meta["group_id"], meta["parent_id"]) == ("g", "p")

    def test_neither_group_nor_parent(self, backend: Any) -> None:
        backend.store_result("a", 1, "SUCCESS", request=request())
        assert not {"group_id", "parent_id", "name"} & set(stored())

    def test_children(self, app: TaskQ, backend: Any) -> None:
        parent = request()
        parent.children.append(app.AsyncResult("c1"))
        backend.store_result("a", 1, "SUCCESS", request=parent)
        assert stored()["children"] == [[["c1", None], None]]

    def test_extended(self, app: TaskQ, backend: Any) -> None:
        app.conf.result_extended = True
        backend.store_result("a", 1, "SUCCESS", request=request())
        meta = stored()
        assert meta["name"] == "proj.add"
        assert meta["args"] == [1]
        assert meta["kwargs"] == {"y": 2}
        assert meta["worker"] == "w1@host"
        assert meta["retries"] == 3
        assert meta["queue"] == "celery"

    def test_extended_with_stamps(self, app: TaskQ, backend: Any) -> None:
        app.conf.result_extended = True
        stamped = request(stamped_headers=["color"], stamps={"color": "red"})
        backend.store_result("a", 1, "SUCCESS", request=stamped)
        assert stored()["stamped_headers"] == ["color"]
        assert stored()["color"] == "red"

    def test_a_handle_as_a_result(self, app: TaskQ, backend: Any) -> None:
        backend.store_result("a", app.AsyncResult("other"), "SUCCESS")
        assert stored()["result"] == [["other", None], None]


class TestReading:
    def test_an_unknown_task_is_pending(self, backend: Any) -> None:
        assert backend.get_task_meta("nobody") == {"status": "PENDING", "result": None}
        assert backend.get_state("nobody") == "PENDING"
        assert not backend.task_result_exists("nobody")

    def test_the_parts(self, backend: Any) -> None:
        backend.store_result("a", ValueError("x"), "FAILURE", traceback="tb")
        assert backend.get_state("a") == "FAILURE"
        assert repr(backend.get_result("a")) == "ValueError('x')"
        assert backend.get_traceback("a") == "tb"
        assert backend.get_children("a") is None
        assert backend.task_result_exists("a")

    def test_forget(self, backend: Any) -> None:
        backend.store_result("a", 1, "SUCCESS")
        backend.forget("a")
        assert backend.get_state("a") == "PENDING"

    def test_a_success_is_cached_where_a_cache_is_configured(self, app: TaskQ) -> None:
        app.conf.result_cache_max = 10
        backend = app.backend
        backend.store_result("a", 1, "SUCCESS")
        backend.get_task_meta("a")
        assert backend.is_cached("a")
        cache._memory.clear()
        assert backend.get_result("a") == 1
        assert backend.get_task_meta("a", cache=False)["status"] == "PENDING"

    def test_nothing_is_cached_by_default(self, backend: Any) -> None:
        backend.store_result("a", 1, "SUCCESS")
        backend.get_task_meta("a")
        assert not backend.is_cached("a")

    def test_eager_mode_warns(self, app: TaskQ, backend: Any) -> None:
        app.conf.task_always_eager = True
        with pytest.warns(RuntimeWarning, match="task_always_eager"):
            backend.get_task_meta("a")
        app.conf.task_store_eager_result = True
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            backend.get_task_meta("a")


class TestNothingOverwritesASuccess:
    @pytest.mark.parametrize("state", ["FAILURE", "RETRY", "STARTED", "REVOKED", "SUCCESS"])
    def test_a_later_state_is_dropped(self, backend: Any, state: str) -> None:
        backend.store_result("a", "first", "SUCCESS")
        backend.store_result("a", "second", state)
        assert stored()["status"] == "SUCCESS"
        assert stored()["result"] == "first"

    def test_a_failure_may_become_a_success(self, backend: Any) -> None:
        backend.store_result("a", ValueError(1), "FAILURE")
        backend.store_result("a", 2, "SUCCESS")
        assert stored()["result"] == 2


class Flaky(BaseBackend):
    """Fails as often as it is told."""

    failures = 0
    error: type[Exception] = ConnectionError

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error("away")

    def _store_result(self, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self._fail()

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        self._fail()
        return {"status": "SUCCESS", "result": 1, "task_id": task_id}

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        return isinstance(exc, ConnectionError)

    def _sleep(self, amount: float) -> None:
        self.slept = [*getattr(self, "slept", []), amount]


class TestRetries:
    @pytest.fixture
    def flaky(self, app: TaskQ) -> Flaky:
        app.conf.result_backend_always_retry = True
        app.conf.result_backend_max_retries = 3
        app.conf.result_backend_max_sleep_between_retries_ms = 100
        return Flaky(app=app)

    def test_calls_again_while_the_store_is_away(self, flaky: Flaky) -> None:
        flaky.failures = 3
        flaky.store_result("a", 1, "SUCCESS")
        assert len(flaky.slept) == 3
        assert all(0 <= seconds <= 0.1 for seconds in flaky.slept)

    def test_reads_again_while_the_store_is_away(self, flaky: Flaky) -> None:
        flaky.failures = 2
        assert flaky.get_result("a") == 1

    def test_gives_up_storing(self, flaky: Flaky) -> None:
        flaky.failures = 10
        with pytest.raises(BackendStoreError) as failed:
            flaky.store_result("a", 1, "SUCCESS")
        assert (failed.value.task_id, failed.value.state) == ("a", "SUCCESS")
        assert isinstance(failed.value.__cause__, ConnectionError)

    def test_gives_up_reading(self, flaky: Flaky) -> None:
        flaky.failures = 10
        with pytest.raises(BackendGetMetaError):
            flaky.get_task_meta("a")

    def test_other_errors_are_not_retried(self, flaky: Flaky) -> None:
        flaky.failures, flaky.error = 1, LookupError
        with pytest.raises(LookupError):
            flaky.store_result("a", 1, "SUCCESS")

    def test_nothing_is_retried_by_default(self, app: TaskQ) -> None:
        flaky = Flaky(app=app)
        flaky.failures = 1
        with pytest.raises(ConnectionError):
            flaky.store_result("a", 1, "SUCCESS")


class TestGroups:
    def test_saved_restored_deleted(self, app: TaskQ, backend: Any) -> None:
        group = app.GroupResult("g", [app.AsyncResult("x"), app.AsyncResult("y")])
        backend.save_group("g", group)
        value, _ = cache._memory[b"celery-taskset-meta-g"]
        assert json.loads(value) == {
            "result": [["g", None], [[["x", None], None], [["y", None], None]]]
        }
        assert backend.restore_group("g") == group
        backend.delete_group("g")
        assert backend.restore_group("g") is None


def test_a_child_at_the_end_of_a_long_chain_can_be_stored(app: TaskQ, backend: Any) -> None:
    last = None
    for number in range(2000):
        last = app.AsyncResult(str(number), parent=last)
    parent = request()
    parent.children.append(last)
    backend.store_result("a", 1, "SUCCESS", request=parent)
    [child] = app.AsyncResult("a").children
    assert child.id == "1999"
    assert child.as_list()[-1] == "1899"
    assert app.GroupResult("g", [app.AsyncResult("x")], parent=last).save()
    assert app.GroupResult.restore("g").parent.id == "1999"


class TestSettings:
    @pytest.mark.parametrize(("value", "seconds"), [(10, 10), (timedelta(minutes=1), 60), (2.9, 2)])
    def test_expires(self, backend: Any, value: Any, seconds: int) -> None:
        assert backend.prepare_expires(value, int) == seconds

    def test_expires_by_default(self, backend: Any) -> None:
        assert backend.prepare_expires(None, int) == 86400

    def test_the_keys_have_a_global_prefix(self, app: TaskQ) -> None:
        app.conf.result_backend_transport_options = {"global_keyprefix": "proj_"}
        assert app.backend.get_key_for_task("a") == b"proj_celery-task-meta-a"
        assert app.backend._strip_prefix(b"proj_celery-task-meta-a") == "a"

    def test_a_key_needs_an_id(self, backend: Any) -> None:
        with pytest.raises(ValueError):
            backend.get_key_for_task("")

    def test_the_serializer(self, app: TaskQ) -> None:
        app.conf.update(result_serializer="pickle", accept_content=["json", "pickle"])
        app.backend.store_result("a", {1, 2}, "SUCCESS")
        assert app.backend.get_result("a") == {1, 2}

    def test_content_that_is_not_accepted_is_not_read(self, app: TaskQ) -> None:
        app.conf.update(result_serializer="pickle", accept_content=["json"])
        app.backend.store_result("a", {1, 2}, "SUCCESS")
        with pytest.raises(Exception, match="pickle"):
            app.backend.get_result("a")

    def test_pickled_backends_belong_to_the_current_app(self, app: TaskQ) -> None:
        import pickle

        app.set_current()
        copy = pickle.loads(pickle.dumps(app.backend))
        app.backend.store_result("a", 1, "SUCCESS")
        assert copy.get_result("a") == 1


class TestCompression:
    @pytest.mark.parametrize("method", ["gzip", "bzip2", "lzma"])
    def test_round_trip(self, method: str) -> None:
        payload = compress_payload('{"x": 1}' * 10, method)
        assert payload.startswith(COMPRESSED_PAYLOAD_MAGIC)
        assert decompress_payload(payload) == b'{"x": 1}' * 10

    def test_plain_payloads_are_left_alone(self) -> None:
        assert decompress_payload(b'{"x": 1}') == b'{"x": 1}'

    def test_an_unknown_method_is_refused(self, app: TaskQ) -> None:
        app.conf.result_compression = "squeeze"
        with pytest.raises(ImproperlyConfigured, match="application/x-gzip"):
            app.backend

    def test_a_store_of_text_warns(self, app: TaskQ) -> None:
        app.conf.result_compression = "gzip"
        with pytest.warns(UserWarning, match="CacheBackend"):
            app.backend


def test_the_date_is_in_the_apps_time_zone(app: TaskQ) -> None:
    app.conf.update(timezone="Asia/Tokyo", enable_utc=False)
    app.backend.store_result("a", 1, "SUCCESS")
    done = AsyncResult("a", app=app).date_done
    assert done is not None
    assert done.utcoffset() == timedelta(hours=9)
    assert abs(datetime.now(UTC) - done) < timedelta(minutes=1)
