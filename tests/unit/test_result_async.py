"""`AsyncResult`: asking and waiting for one task."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.backends import cache
from taskq.exceptions import IncompleteStream, TaskRevokedError, TimeoutError
from taskq.result import (
    AsyncResult,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
)


@pytest.fixture
def app() -> Iterator[TaskQ]:
    # Apps of other tests in this process share it.
    cache._memory.clear()
    app = TaskQ("results", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    cache._memory.clear()
    app.close()


def store(app: TaskQ, task_id: str, value: Any, state: str = "SUCCESS", **kwargs: Any) -> Any:
    app.backend.store_result(task_id, value, state, **kwargs)
    return app.AsyncResult(task_id)


class TestState:
    def test_pending(self, app: TaskQ) -> None:
        result = app.AsyncResult("a")
        assert (result.state, result.result, result.traceback) == ("PENDING", None, None)
        assert (result.ready(), result.successful(), result.failed()) == (False, False, False)
        assert result.children is None
        assert not result.exists()

    def test_success(self, app: TaskQ) -> None:
        result = store(app, "a", 5)
        assert (result.state, result.status) == ("SUCCESS", "SUCCESS")
        assert (result.result, result.info) == (5, 5)
        assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
        assert isinstance(result.date_done, datetime)
        assert result.exists()

    def test_failure(self, app: TaskQ) -> None:
        result = store(app, "a", ValueError("x"), "FAILURE", traceback="tb")
        assert repr(result.result) == "ValueError('x')"
        assert result.traceback == "tb"
        assert (result.ready(), result.successful(), result.failed()) == (True, False, True)

    def test_progress(self, app: TaskQ) -> None:
        result = store(app, "a", {"percent": 10}, "PROGRESS")
        assert (result.state, result.info, result.ready()) == ("PROGRESS", {"percent": 10}, False)

    def test_extended(self, app: TaskQ) -> None:
        app.conf.result_extended = True
        request = Context(
            id="a",
            task="proj.add",
            args=[1],
            kwargs={"y": 2},
            hostname="w1",
            retries=3,
            delivery_info={"routing_key": "celery"},
        )
        result = store(app, "a", 5, request=request)
        assert (result.name, result.args, result.kwargs) == ("proj.add", [1], {"y": 2})
        assert (result.worker, result.retries, result.queue) == ("w1", 3, "celery")

    def test_a_ready_state_is_asked_for_once(self, app: TaskQ) -> None:
        result = store(app, "a", 5)
        assert result.ready()
        cache._memory.clear()
        assert (result.get(), result.state) == (5, "SUCCESS")

    def test_forget(self, app: TaskQ) -> None:
        parent = store(app, "p", 1)
        store(app, "a", 5)
        result = app.AsyncResult("a", parent=parent)
        result.get()
        result.forget()
        assert result.state == "PENDING"
        assert app.AsyncResult("p").state == "PENDING"


class TestGet:
    def test_value(self, app: TaskQ) -> None:
        assert store(app, "a", 5).get(timeout=5) == 5

    def test_waits(self, app: TaskQ) -> None:
        threading.Timer(0.1, app.backend.store_result, ["a", 5, "SUCCESS"]).start()
        assert app.AsyncResult("a").get(timeout=10) == 5

    def test_time_out(self, app: TaskQ) -> None:
        with pytest.raises(TimeoutError):
            app.AsyncResult("a").get(timeout=0.01)
        with pytest.raises(AsyncResult.TimeoutError):
            app.AsyncResult("a").wait(timeout=0)

    def test_a_failure_is_raised(self, app: TaskQ) -> None:
        with pytest.raises(ValueError, match="x"):
            store(app, "a", ValueError("x"), "FAILURE").get(timeout=5)

    def test_a_revoked_task_is_raised(self, app: TaskQ) -> None:
        app.backend.mark_as_revoked("a", "terminated")
        with pytest.raises(TaskRevokedError, match="terminated"):
            app.AsyncResult("a").get(timeout=5)

    def test_a_failure_may_be_returned(self, app: TaskQ) -> None:
        result = store(app, "a", ValueError("x"), "FAILURE")
        assert repr(result.get(timeout=5, propagate=False)) == "ValueError('x')"

    def test_raised_again_and_again_with_one_traceback(self, app: TaskQ) -> None:
        result = store(app, "a", ValueError("x"), "FAILURE")
        lengths = []
        for _ in range(3):
            with pytest.raises(ValueError) as failed:
                result.get(timeout=5)
            lengths.append(len(failed.traceback))
        assert lengths[1] == lengths[2]

    def test_callback(self, app: TaskQ) -> None:
        calls: list[Any] = []
        store(app, "a", 5).get(timeout=5, callback=lambda *args: calls.append(args))
        assert calls == [("a", 5)]

    def test_on_message_sees_the_states(self, app: TaskQ) -> None:
        store(app, "a", {"percent": 10}, "PROGRESS")
        seen: list[str] = []

        def on_message(meta: dict[str, Any]) -> None:
            seen.append(meta["status"])
            if meta["status"] == "PROGRESS":
                store(app, "a", 5)

        app.AsyncResult("a").get(timeout=10, on_message=on_message)
        assert seen == ["PROGRESS", "SUCCESS"]

    def test_on_interval(self, app: TaskQ) -> None:
        def on_interval() -> None:
            store(app, "a", 5)

        result = app.AsyncResult("a")
        assert result.get(timeout=10, interval=0.01, on_interval=on_interval) == 5

    def test_an_ignored_result_is_none(self, app: TaskQ) -> None:
        result = app.AsyncResult("a")
        result.ignored = True
        assert result.get() is None

    def test_a_failed_parent_is_raised(self, app: TaskQ) -> None:
        failed = store(app, "p", ValueError("parent"), "FAILURE")
        middle = app.AsyncResult("m", parent=failed)
        with pytest.raises(ValueError, match="parent"):
            app.AsyncResult("a", parent=middle).get(timeout=10)

    def test_a_parent_that_fails_later_is_raised(self, app: TaskQ) -> None:
        result = app.AsyncResult("a", parent=app.AsyncResult("p"))
        threading.Timer(
            0.05, app.backend.store_result, ["p", ValueError("parent"), "FAILURE"]
        ).start()
        with pytest.raises(ValueError, match="parent"):
            result.get(timeout=10, interval=0.02)

    def test_parents_need_not_be_followed(self, app: TaskQ) -> None:
        failed = store(app, "p", ValueError("parent"), "FAILURE")
        result = app.AsyncResult("a", parent=failed)
        with pytest.raises(TimeoutError):
            result.get(timeout=0.01, follow_parents=False)


class TestInsideATask:
    def test_waiting_is_refused(self, app: TaskQ) -> None:
        result = store(app, "a", 5)
        with denied_join_result(), pytest.raises(RuntimeError, match=r"Never call result\.get"):
            result.get()

    def test_unless_allowed(self, app: TaskQ) -> None:
        result = store(app, "a", 5)
        with denied_join_result():
            with allow_join_result():
                assert app.AsyncResult("a").get(timeout=5) == 5
            assert result.get(timeout=5, disable_sync_subtasks=False) == 5
            with pytest.raises(RuntimeError):
                assert_will_not_block()
        assert_will_not_block()


class TestThen:
    def test_called_when_seen_ready(self, app: TaskQ) -> None:
        calls: list[Any] = []
        result = app.AsyncResult("a")
        result.then(calls.append)
        assert calls == []
        store(app, "a", 5)
        assert result.ready()
        assert calls == [result]

    def test_called_at_once_if_known(self, app: TaskQ) -> None:
        calls: list[Any] = []
        result = store(app, "a", 5)
        result.get()
        result.then(calls.append)
        assert calls == [result]

    def test_called_while_waiting_for_another(self, app: TaskQ) -> None:
        calls: list[Any] = []
        result = app.AsyncResult("a")
        result.then(calls.append)
        store(app, "a", 5)
        store(app, "b", 6)
        app.AsyncResult("b").get(timeout=5)
        assert calls == [result]

    def test_called_for_failures_too(self, app: TaskQ) -> None:
        calls: list[Any] = []
        result = store(app, "a", ValueError("x"), "FAILURE")
        result.then(calls.append)
        assert result.ready()
        assert calls[0].failed()


class TestTree:
    @pytest.fixture
    def tree(self, app: TaskQ) -> Any:
        """A task that called a task and a group of two."""
        for task_id, value in (("x", 1), ("y", 2), ("z", 3)):
            store(app, task_id, value)
        root = Context(id="root", delivery_info={})
        root.children.append(app.AsyncResult("x"))
        root.children.append(app.GroupResult("g", [app.AsyncResult("y"), app.AsyncResult("z")]))
        return store(app, "root", 0, request=root)

    def test_children(self, tree: Any) -> None:
        assert [each.id for each in tree.children] == ["x", "g"]

    def test_iterdeps(self, tree: Any) -> None:
        pairs = [(parent and parent.id, node.id) for parent, node in tree.iterdeps()]
        assert pairs == [
            (None, "root"),
            ("root", "x"),
            ("root", "g"),
            ("g", "y"),
            ("g", "z"),
        ]

    def test_collect(self, tree: Any) -> None:
        values = [(node.id, value) for node, value in tree.collect()]
        assert values == [("root", 0), ("x", 1), ("g", [2, 3]), ("y", 2), ("z", 3)]

    def test_get_leaf(self, tree: Any) -> None:
        assert tree.get_leaf() == 3

    def test_graph(self, tree: Any) -> None:
        assert {str(node) for node in tree.graph} == {"root", "x", "g", "y", "z"}
        assert tree.graph is tree.graph

    def test_incomplete(self, app: TaskQ) -> None:
        result = app.AsyncResult("a")
        with pytest.raises(IncompleteStream):
            list(result.iterdeps())
        assert list(result.iterdeps(intermediate=True)) == [(None, result)]


class TestHandle:
    def test_needs_an_id(self, app: TaskQ) -> None:
        with pytest.raises(ValueError, match="valid id"):
            app.AsyncResult(None)

    def test_equality(self, app: TaskQ) -> None:
        a = app.AsyncResult("a")
        assert a == app.AsyncResult("a")
        assert a == "a"
        assert a != app.AsyncResult("b")
        assert a != 1
        assert len({a, app.AsyncResult("a")}) == 1
        assert copy.copy(a) == a

    def test_text(self, app: TaskQ) -> None:
        assert str(app.AsyncResult("a")) == "a"
        assert repr(app.AsyncResult("a")) == "<AsyncResult: a>"

    def test_tuples(self, app: TaskQ) -> None:
        result = app.AsyncResult("a", parent=app.AsyncResult("p"))
        assert result.as_tuple() == (("a", (("p", None), None)), None)
        assert result.as_list() == ["a", "p"]
        again = result_from_tuple(result.as_tuple(), app)
        assert (again.id, again.parent.id) == ("a", "p")

    def test_a_chain_of_ten_thousand(self, app: TaskQ) -> None:
        result = None
        for n in range(10_000):
            result = app.AsyncResult(str(n), parent=result)
        assert result is not None
        again = result_from_tuple(result.as_tuple(), app)
        assert len(again.as_list()) == 10_000

    def test_pickling(self, app: TaskQ) -> None:
        app.set_current()
        result = AsyncResult("a", app=app, parent=AsyncResult("p", app=app))
        again = pickle.loads(pickle.dumps(result))
        assert (again, again.parent) == (result, result.parent)

    def test_revoke(self, app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[Any] = []

        class Control:
            def revoke(self, *args: Any, **kwargs: Any) -> None:
                calls.append((args, kwargs))

            def revoke_by_stamped_headers(self, *args: Any, **kwargs: Any) -> None:
                calls.append((args, kwargs))

        monkeypatch.setattr(app, "control", Control(), raising=False)
        app.AsyncResult("a").revoke(terminate=True, signal="KILL", wait=True, timeout=3)
        app.AsyncResult("a").revoke_by_stamped_headers({"color": "red"})
        (ids, options), (headers, _) = calls
        assert ids == ("a",)
        assert options == {
            "connection": None,
            "terminate": True,
            "signal": "KILL",
            "reply": True,
            "timeout": 3,
        }
        assert headers == ({"color": "red"},)
