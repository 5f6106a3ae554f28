"""`ResultSet`, `GroupResult` and `EagerResult`."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.backends import cache
from taskq.exceptions import TaskRevokedError, TimeoutError
from taskq.result import (
    EagerResult,
    GroupResult,
    ResultSet,
    denied_join_result,
    result_from_tuple,
)


@pytest.fixture
def app() -> Iterator[TaskQ]:
    app = TaskQ("sets", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    cache._memory.clear()
    app.close()


@pytest.fixture
def stored(app: TaskQ) -> TaskQ:
    """``one`` and ``two`` have succeeded, ``bad`` has failed."""
    app.backend.store_result("one", 1, "SUCCESS")
    app.backend.store_result("two", 2, "SUCCESS")
    app.backend.store_result("bad", ValueError("x"), "FAILURE")
    return app


def group(app: TaskQ, *ids: Any, id: str = "g") -> Any:
    members = [app.AsyncResult(each) if isinstance(each, str) else each for each in ids]
    return app.GroupResult(id, members)


class TestWaiting:
    def test_values_in_order(self, stored: TaskQ) -> None:
        assert group(stored, "two", "one").get(timeout=5) == [2, 1]
        assert group(stored, "two", "one").join(timeout=5) == [2, 1]
        assert group(stored, "two", "one").join_native(timeout=5) == [2, 1]

    def test_one_task_twice(self, stored: TaskQ) -> None:
        assert group(stored, "one", "two", "one").get(timeout=5) == [1, 2, 1]

    def test_nothing(self, app: TaskQ) -> None:
        assert group(app).get() == []
        assert ResultSet([], app=app).join() == []

    def test_waits_for_the_last(self, stored: TaskQ) -> None:
        threading.Timer(0.1, stored.backend.store_result, ["late", 3, "SUCCESS"]).start()
        assert group(stored, "late", "one").get(timeout=10) == [3, 1]

    @pytest.mark.parametrize("method", ["get", "join", "join_native"])
    def test_a_failure_is_raised(self, stored: TaskQ, method: str) -> None:
        with pytest.raises(ValueError, match="x"):
            getattr(group(stored, "one", "bad"), method)(timeout=5)

    def test_a_failure_does_not_wait_for_the_rest(self, stored: TaskQ) -> None:
        with pytest.raises(ValueError, match="x"):
            group(stored, "never", "bad").get(timeout=10)

    @pytest.mark.parametrize("method", ["get", "join", "join_native"])
    def test_a_failure_may_be_returned(self, stored: TaskQ, method: str) -> None:
        values = getattr(group(stored, "one", "bad"), method)(timeout=5, propagate=False)
        assert values[0] == 1
        assert repr(values[1]) == "ValueError('x')"

    @pytest.mark.parametrize("method", ["get", "join", "join_native"])
    def test_time_out(self, stored: TaskQ, method: str) -> None:
        with pytest.raises(TimeoutError):
            getattr(group(stored, "one", "never"), method)(timeout=0.02)

    @pytest.mark.parametrize("method", ["join", "join_native"])
    def test_callback(self, stored: TaskQ, method: str) -> None:
        calls: list[Any] = []
        found = getattr(group(stored, "one", "two"), method)(
            callback=lambda *args: calls.append(args)
        )
        assert not found
        assert sorted(calls) == [("one", 1), ("two", 2)]

    def test_on_message(self, stored: TaskQ) -> None:
        seen: list[str] = []
        group(stored, "one", "two").get(on_message=lambda meta: seen.append(meta["task_id"]))
        assert sorted(seen) == ["one", "two"]

    def test_nested(self, stored: TaskQ) -> None:
        nested = group(stored, group(stored, "one", "two", id="inner"), "one")
        assert nested.get(timeout=5) == [[1, 2], 1]
        assert nested.join(timeout=5) == [[1, 2], 1]

    def test_iterate(self, stored: TaskQ) -> None:
        assert sorted(group(stored, "one", "two").iterate(timeout=5)) == [1, 2]

    def test_iter_native(self, stored: TaskQ) -> None:
        found = dict(group(stored, "one", "two").iter_native(timeout=5))
        assert {task_id: meta["result"] for task_id, meta in found.items()} == {
            "one": 1,
            "two": 2,
        }

    def test_refused_inside_a_task(self, stored: TaskQ) -> None:
        with denied_join_result(), pytest.raises(RuntimeError, match=r"Never call result\.get"):
            group(stored, "one").get()


class TestState:
    def test_all_succeeded(self, stored: TaskQ) -> None:
        both = group(stored, "one", "two")
        assert (both.ready(), both.successful(), both.failed(), both.waiting()) == (
            True,
            True,
            False,
            False,
        )
        assert both.completed_count() == 2

    def test_some_failed_some_wait(self, stored: TaskQ) -> None:
        mixed = group(stored, "one", "bad", "never")
        assert (mixed.ready(), mixed.successful(), mixed.failed(), mixed.waiting()) == (
            False,
            False,
            True,
            True,
        )
        assert mixed.completed_count() == 1
        with pytest.raises(ValueError, match="x"):
            mixed.maybe_throw()

    def test_nested(self, stored: TaskQ) -> None:
        nested = group(stored, group(stored, "one", id="inner"), "never")
        assert nested.completed_count() == 1
        assert not nested.ready()

    def test_states_of_many_are_read_at_once(
        self, stored: TaskQ, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        reads: list[int] = []
        read_metas = stored.backend.read_metas

        def counted(task_ids: Any) -> Any:
            reads.append(len(task_ids))
            return read_metas(task_ids)

        monkeypatch.setattr(stored.backend, "read_metas", counted)
        group(stored, "one", "two", "never").ready()
        assert reads == [3]

    def test_forget(self, stored: TaskQ) -> None:
        group(stored, "one", "two").forget()
        assert group(stored, "one", "two").completed_count() == 0


class TestThen:
    def test_called_when_all_are_ready(self, app: TaskQ) -> None:
        calls: list[Any] = []
        both = group(app, "one", "two")
        both.then(lambda result: calls.append(result.id))
        app.backend.store_result("one", 1, "SUCCESS")
        assert not both.ready()
        assert calls == []
        app.backend.store_result("two", 2, "SUCCESS")
        assert both.get(timeout=5) == [1, 2]
        assert calls == ["g"]


class TestSet:
    def test_changing(self, app: TaskQ) -> None:
        a, b = app.AsyncResult("a"), app.AsyncResult("b")
        results = ResultSet([a], app=app)
        results.add(b)
        results.add(b)
        assert (len(results), results[1], list(results)) == (2, b, [a, b])
        results.remove("b")
        results.discard(b)
        assert list(results) == [a]
        with pytest.raises(KeyError):
            results.remove(b)
        results.update([a, b])
        assert list(results) == [a, b]
        results.clear()
        assert not results

    def test_equality(self, app: TaskQ) -> None:
        a = app.AsyncResult("a")
        assert ResultSet([a], app=app) == ResultSet([a], app=app)
        assert ResultSet([a], app=app) != ResultSet([], app=app)
        assert repr(ResultSet([a], app=app)) == "<ResultSet: [a]>"


class TestGroup:
    def test_saved_and_restored(self, app: TaskQ) -> None:
        saved = group(app, "one", group(app, "two", id="inner"))
        saved.save()
        assert app.GroupResult.restore("g") == saved
        assert GroupResult.restore("g", app=app) == saved
        saved.delete()
        assert app.GroupResult.restore("g") is None

    def test_equality(self, app: TaskQ) -> None:
        assert group(app, "a") == group(app, "a")
        assert group(app, "a") != group(app, "b")
        assert group(app, "a") == "g"
        assert hash(group(app, "a")) == hash("g")
        assert app.GroupResult("g", [], parent=app.AsyncResult("p")) != app.GroupResult("g", [])

    def test_truth_and_text(self, app: TaskQ) -> None:
        assert group(app)
        assert not app.GroupResult(None, [])
        assert str(group(app, "a")) == "g"
        assert repr(group(app, "a", "b")) == "<GroupResult: g [a, b]>"

    def test_tuples(self, app: TaskQ) -> None:
        nested = app.GroupResult(
            "g", [app.AsyncResult("a"), group(app, "b", id="i")], parent=app.AsyncResult("p")
        )
        assert nested.as_tuple() == (
            ("g", (("p", None), None)),
            [(("a", None), None), (("i", None), [(("b", None), None)])],
        )
        assert result_from_tuple(nested.as_tuple(), app) == nested

    def test_pickling(self, app: TaskQ) -> None:
        app.set_current()
        results = GroupResult("g", [app.AsyncResult("a")], app=app)
        results.results = []
        assert pickle.loads(pickle.dumps(results)) == results

    def test_revoke_names_every_task(self, app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[Any] = []

        class Control:
            def revoke(self, ids: list[str], **kwargs: Any) -> None:
                calls.append((ids, kwargs["terminate"]))

        monkeypatch.setattr(app, "control", Control(), raising=False)
        group(app, "a", group(app, "b", "c", id="inner")).revoke(terminate=True)
        assert calls == [(["a", "b", "c"], True)]


class TestEager:
    def test_success(self) -> None:
        result = EagerResult("a", 5, "SUCCESS", name="t")
        assert (result.get(), result.state, result.name) == (5, "SUCCESS", "t")
        assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
        assert repr(result) == "<EagerResult: a>"

    @pytest.mark.parametrize("state", ["FAILURE", "REVOKED"])
    def test_failure(self, state: str) -> None:
        result = EagerResult("a", ValueError("x"), state, traceback="tb")
        with pytest.raises(ValueError, match="x"):
            result.get()
        assert repr(result.get(propagate=False)) == "ValueError('x')"
        assert result.traceback == "tb"
        with pytest.raises(ValueError, match="x"):
            result.maybe_throw()

    def test_then(self) -> None:
        calls: list[Any] = []
        result = EagerResult("a", 5, "SUCCESS")
        result.then(calls.append)
        assert calls == [result]

    def test_copies(self) -> None:
        result = EagerResult("a", 5, "SUCCESS")
        assert copy.copy(result).get() == 5
        assert pickle.loads(pickle.dumps(result)).get() == 5

    def test_forget_and_revoke(self) -> None:
        result = EagerResult("a", 5, "SUCCESS")
        result.forget()
        result.revoke()
        assert result.state == "REVOKED"
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get()

    def test_in_a_set(self, app: TaskQ) -> None:
        results = ResultSet([EagerResult("a", 5, "SUCCESS"), EagerResult("b", 6, "SUCCESS")])
        results.app = app
        assert results.get() == [5, 6]
        assert results.successful()

    def test_refused_inside_a_task(self) -> None:
        with denied_join_result(), pytest.raises(RuntimeError):
            EagerResult("a", 5, "SUCCESS").get()
