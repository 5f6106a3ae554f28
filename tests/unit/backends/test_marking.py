"""What a state sets off: the chord, the rest of the chain, the errbacks."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context

Calls = list[tuple[Any, ...]]


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
def tasks(app: TaskQ, calls: Calls) -> TaskQ:
    """An app whose errbacks say how they were called, and which runs what it sends at once."""

    @app.task(name="old", shared=False)
    def old(uuid: str) -> None:
        calls.append(("old", uuid))

    @app.task(name="new", shared=False)
    def new(request: Any, exc: BaseException, traceback: str) -> None:
        calls.append(("new", request.id, repr(exc), traceback))

    @app.task(name="bound", shared=False, bind=True)
    def bound(self: Any, request: Any, exc: BaseException, traceback: str) -> None:
        calls.append(("bound", request.id))

    @app.task(name="retrying", shared=False, bind=True)
    def retrying(self: Any, *args: Any) -> None:
        calls.append(("retrying", *args, self.request.id is not None))

    @app.task(name="anything", shared=False)
    def anything(*args: Any) -> None:
        calls.append(("anything", len(args)))

    @app.task(name="pair", shared=False)
    def pair(x: Any, uuid: str) -> None:
        calls.append(("pair", x, uuid))

    @app.task(name="broken", shared=False)
    def broken(request: Any, exc: BaseException, traceback: str) -> None:
        raise LookupError("in the errback")

    app.conf.task_always_eager = True
    app.conf.task_store_eager_result = True
    return app


def request(**attributes: Any) -> Context:
    defaults = {"id": "a", "task": "t", "args": [], "kwargs": {}, "delivery_info": {}}
    return Context({**defaults, "root_id": "r", **attributes})


def fail(app: TaskQ, *errbacks: Any, **kwargs: Any) -> None:
    attributes = {"errbacks": [dict(app.signature(each)) for each in errbacks]}
    app.backend.mark_as_failure(
        "a", ValueError("x"), traceback="tb", request=request(**attributes), **kwargs
    )


@pytest.mark.parametrize(
    ("errback", "call"),
    [
        ("new", ("new", "a", "ValueError('x')", "tb")),
        ("bound", ("bound", "a")),
        ("retrying", ("retrying", "a", True)),
        ("anything", ("anything", 3)),
        ("old", ("old", "a")),
    ],
)
def test_errbacks_get_what_they_take(
    tasks: TaskQ, calls: Calls, errback: str, call: tuple[Any, ...]
) -> None:
    fail(tasks, tasks.tasks[errback].s())
    assert calls == [call]


def test_partial_arguments_count(tasks: TaskQ, calls: Calls) -> None:
    fail(tasks, tasks.tasks["pair"].s("uuid of the errback"))
    assert calls == [("pair", "a", "uuid of the errback")]


def test_an_immutable_errback_keeps_its_arguments(tasks: TaskQ, calls: Calls) -> None:
    fail(tasks, tasks.tasks["old"].si("mine"))
    assert calls == [("old", "mine")]


def test_a_broken_errback_spares_the_others(tasks: TaskQ, calls: Calls) -> None:
    fail(tasks, tasks.tasks["broken"].s(), tasks.tasks["bound"].s())
    assert calls == [("bound", "a")]
    assert tasks.backend.get_state("a") == "FAILURE"


def test_errbacks_are_not_called_if_not_wanted(tasks: TaskQ, calls: Calls) -> None:
    fail(tasks, tasks.tasks["old"].s(), call_errbacks=False)
    assert calls == []


def test_an_ignored_result_is_not_stored(tasks: TaskQ, calls: Calls) -> None:
    fail(tasks, tasks.tasks["old"].s(), store_result=False)
    assert calls == [("old", "a")]
    assert not tasks.backend.task_result_exists("a")


@pytest.mark.parametrize("mark", ["mark_as_failure", "mark_as_revoked"])
def test_the_rest_of_the_chain_ends_with_it(tasks: TaskQ, mark: str) -> None:
    step = tasks.tasks["old"].s()
    chain = [dict(step.clone().set(task_id=each, parent_id="p")) for each in ("s3", "s2")]
    getattr(tasks.backend, mark)("a", ValueError("x"), request=request(chain=chain))
    states = {tasks.backend.get_state(each) for each in ("a", "s2", "s3")}
    assert len(states) == 1
    assert states <= {"FAILURE", "REVOKED"}


class TestChordParts:
    @pytest.fixture
    def parts(self, tasks: TaskQ, monkeypatch: pytest.MonkeyPatch) -> Calls:
        parts: Calls = []
        monkeypatch.setattr(
            tasks.backend,
            "on_chord_part_return",
            lambda request, state, result: parts.append((request.id, request.group, state)),
        )
        return parts

    def test_done_failed_and_revoked_tasks_count(self, tasks: TaskQ, parts: Calls) -> None:
        part = request(chord={"task": "old"}, group="g")
        tasks.backend.mark_as_done("a", 1, request=part)
        tasks.backend.mark_as_failure("a", ValueError(1), request=part)
        tasks.backend.mark_as_revoked("a", "why", request=part)
        assert [state for _, _, state in parts] == ["SUCCESS", "FAILURE", "REVOKED"]

    def test_retried_tasks_do_not(self, tasks: TaskQ, parts: Calls) -> None:
        part = request(chord={"task": "old"}, group="g")
        tasks.backend.mark_as_retry("a", ValueError(1), request=part)
        assert parts == []

    def test_ignored_results_count(self, tasks: TaskQ, parts: Calls) -> None:
        part = request(chord={"task": "old"}, group="g")
        tasks.backend.mark_as_done("a", 1, request=part, store_result=False)
        assert parts == [("a", "g", "SUCCESS")]

    def test_the_last_step_of_a_failed_chain_counts(self, tasks: TaskQ, parts: Calls) -> None:
        last = tasks.tasks["old"].s().set(task_id="s3", group_id="g", chord={"task": "old"})
        tasks.backend.mark_as_failure("a", ValueError(1), request=request(chain=[dict(last)]))
        assert parts == [("s3", "g", "FAILURE")]


def test_started_with_pid_and_host(tasks: TaskQ) -> None:
    tasks.backend.mark_as_started("a", pid=7, hostname="w1")
    assert tasks.AsyncResult("a").state == "STARTED"
    assert tasks.AsyncResult("a").info == {"pid": 7, "hostname": "w1"}


def test_revoked_with_the_reason(tasks: TaskQ) -> None:
    tasks.backend.mark_as_revoked("a", "no longer wanted")
    assert str(tasks.backend.get_result("a")) == "no longer wanted"


def test_retry_with_the_exception(tasks: TaskQ) -> None:
    tasks.backend.mark_as_retry("a", ValueError("later"), traceback="tb")
    assert tasks.backend.get_state("a") == "RETRY"
    assert repr(tasks.backend.get_result("a")) == "ValueError('later')"
