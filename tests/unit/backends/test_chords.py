"""Counting the header of a chord in a key-value store, and what happens at its end."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.backends import cache
from taskq.exceptions import ChordError, MaxRetriesExceededError, Retry

Bodies = list[Any]


@pytest.fixture
def bodies() -> Bodies:
    return []


@pytest.fixture
def chord_app(app: TaskQ, bodies: Bodies) -> TaskQ:
    """An app that runs bodies and errbacks at once; the test plays the header tasks."""

    @app.task(name="body", shared=False)
    def body(values: list[Any]) -> Any:
        bodies.append(values)
        return values

    @app.task(name="errback", shared=False)
    def errback(request: Any, exc: BaseException, traceback: str) -> None:
        bodies.append((request.id, exc))

    app.conf.task_always_eager = True
    app.conf.task_store_eager_result = True
    app.conf.result_chord_join_timeout = 0.5
    return app


class Chord:
    """A chord whose header tasks end when the test says so."""

    def __init__(self, app: TaskQ, size: int) -> None:
        self.app = app
        self.ids = [f"part{n}" for n in range(size)]
        self.body = app.tasks["body"].s().set(task_id="the-body")
        self.body.link_error(app.tasks["errback"].s())
        results = [app.AsyncResult(each) for each in self.ids]
        app.backend.apply_chord(("chord", results), self.body, interval=1, countdown=1)
        app.backend.set_chord_size("chord", size)

    def request(self, number: int) -> Context:
        return Context(
            id=self.ids[number],
            task="part",
            group="chord",
            group_index=number,
            chord=dict(self.body),
            args=[],
            kwargs={},
            delivery_info={},
        )

    def done(self, number: int, value: Any = None) -> None:
        self.app.backend.mark_as_done(self.ids[number], value, request=self.request(number))

    def failed(self, number: int) -> None:
        self.app.backend.mark_as_failure(
            self.ids[number], ValueError("bad part"), request=self.request(number)
        )


def test_the_last_part_sends_the_body_with_values_in_order(
    chord_app: TaskQ, bodies: Bodies
) -> None:
    chord = Chord(chord_app, 3)
    chord.done(2, "c")
    chord.done(0, "a")
    assert bodies == []
    chord.done(1, "b")
    assert bodies == [["a", "b", "c"]]


def test_a_part_delivered_again_counts_once(chord_app: TaskQ, bodies: Bodies) -> None:
    chord = Chord(chord_app, 2)
    chord.done(0, "a")
    chord.done(0, "a")
    assert bodies == []
    chord.done(1, "b")
    assert bodies == [["a", "b"]]


def test_a_part_delivered_after_the_end_changes_nothing(chord_app: TaskQ, bodies: Bodies) -> None:
    chord = Chord(chord_app, 2)
    chord.done(0, "a")
    chord.done(1, "b")
    chord.done(1, "b")
    chord.failed(0)
    assert bodies == [["a", "b"]]


def test_a_failed_part_fails_the_body(chord_app: TaskQ, bodies: Bodies) -> None:
    chord = Chord(chord_app, 2)
    chord.failed(0)
    assert bodies == []
    chord.done(1, "b")
    [(task_id, exc)] = bodies
    assert task_id == "the-body"
    assert type(exc).__name__ == "ChordError"
    assert "part0" in str(exc)
    assert "bad part" in str(exc)
    body = chord_app.AsyncResult("the-body")
    assert body.state == "FAILURE"
    assert type(body.result).__name__ == "ChordError"
    assert "bad part" in (body.traceback or "")


def test_nothing_is_left_in_the_store(chord_app: TaskQ) -> None:
    chord = Chord(chord_app, 2)
    chord.done(0)
    chord.done(1)
    left = [key for key in cache._memory if not key.startswith(b"celery-task-meta-")]
    assert left == []


def test_a_worker_that_dies_before_it_counts_is_made_up_for(
    chord_app: TaskQ, bodies: Bodies
) -> None:
    chord = Chord(chord_app, 2)
    chord.done(0, "a")
    # The worker stored the result and marked the part, and was killed before it counted.
    chord_app.backend.store_result("part1", "b", "SUCCESS")
    chord_app.backend._first_time(chord_app.backend.get_key_for_chord("chord", ".part1"))
    chord.done(1, "b")
    assert bodies == [["a", "b"]]


def test_a_worker_that_dies_before_it_sends_the_body_is_made_up_for(
    chord_app: TaskQ, bodies: Bodies
) -> None:
    chord = Chord(chord_app, 1)
    chord_app.backend._first_time(chord_app.backend.get_key_for_chord("chord", ".part0"))
    chord_app.backend.incr(chord_app.backend.get_key_for_chord("chord"))
    assert chord_app.backend._claim_chord("chord", "part0")
    chord.done(0, "a")
    assert bodies == [["a"]]


def test_only_the_claimant_sends_the_body(chord_app: TaskQ, bodies: Bodies) -> None:
    chord = Chord(chord_app, 2)
    chord.done(0, "a")
    assert chord_app.backend._claim_chord("chord", "part0")
    chord.done(1, "b")
    assert bodies == []


def test_a_body_that_cannot_be_sent_is_failed(chord_app: TaskQ, bodies: Bodies) -> None:
    chord = Chord(chord_app, 1)
    chord.body["args"] = ["one too many"]
    chord.done(0, "a")
    assert chord_app.AsyncResult("the-body").state == "FAILURE"


def test_a_group_as_body_is_failed_task_by_task(chord_app: TaskQ, bodies: Bodies) -> None:
    from taskq.canvas import group

    errback = chord_app.tasks["errback"].s()
    body = group(
        [chord_app.tasks["body"].s().set(task_id=each) for each in ("b1", "b2")], app=chord_app
    )
    for member in body.tasks:
        member.link_error(errback)
    try:
        raise ValueError("header")
    except ValueError as exc:
        chord_app.backend.chord_error_from_stack(body, exc)
    assert [chord_app.AsyncResult(each).state for each in ("b1", "b2")] == ["FAILURE"] * 2
    assert [task_id for task_id, _ in bodies] == ["b1", "b2"]


def test_fail_from_current_stack_keeps_the_traceback(chord_app: TaskQ) -> None:
    try:
        raise LookupError("deep down")
    except LookupError:
        chord_app.backend.fail_from_current_stack("a")
    result = chord_app.AsyncResult("a")
    assert repr(result.result) == "LookupError('deep down')"
    assert "deep down" in (result.traceback or "")


def test_stores_that_cannot_count_are_polled(app: TaskQ, tmp_path: Any) -> None:
    polled = TaskQ("polled", broker="memory://", backend=f"file://{tmp_path}", set_as_current=False)

    @polled.task(name="celery.chord_unlock", shared=False)
    def unlock(*args: Any, **kwargs: Any) -> None: ...

    @polled.task(name="body", shared=False, queue="bodies", priority=3)
    def body(values: list[Any]) -> None: ...

    sent: list[Any] = []
    polled.tasks["celery.chord_unlock"].apply_async = lambda *args, **kwargs: sent.append(
        (args, kwargs)
    )
    results = [polled.AsyncResult("x"), polled.AsyncResult("y")]
    polled.backend.apply_chord(("g", results), body.s(), countdown=4, interval=2, max_retries=9)
    [((args, task_kwargs), options)] = sent
    assert args[0] == "g"
    assert args[1]["task"] == "body"
    assert task_kwargs["result"] == [(("x", None), None), (("y", None), None)]
    assert (task_kwargs["interval"], task_kwargs["max_retries"]) == (2, 9)
    assert (options["countdown"], options["queue"], options["priority"]) == (4, "bodies", 3)
    polled.close()


def test_the_time_to_join_the_header_is_limited(chord_app: TaskQ, bodies: Bodies) -> None:
    chord_app.conf.result_chord_join_timeout = 0.05
    header = chord_app.GroupResult("g", [chord_app.AsyncResult("never")])
    with pytest.raises(ChordError, match=r"TimeoutError\('The operation timed out"):
        chord_app.backend.join_header(header)


def test_a_header_that_is_not_ready_is_polled_at_the_interval(tmp_path: Any) -> None:
    url = f"file://{tmp_path}"
    with TaskQ("polled", broker="memory://", backend=url, set_as_current=False) as app:
        app.conf.result_chord_retry_interval = 7
        unlock = app.tasks["celery.chord_unlock"]
        body = {"task": "body", "args": (), "kwargs": {}, "options": {"task_id": "b"}}
        body_args = ("g", body)
        unlock.push_request(
            id="poll", args=body_args, kwargs={}, called_directly=False, delivery_info={}
        )
        for options, seconds in ({}, 7), ({"interval": 3}, 3):
            with pytest.raises(Retry) as caught:
                unlock.run(*body_args, result=[(("never", None), None)], **options)
            assert caught.value.when == seconds


def test_a_header_that_is_polled_too_often_fails_the_body(chord_app: TaskQ, bodies: Bodies) -> None:
    unlock = chord_app.tasks["celery.chord_unlock"]
    body = chord_app.tasks["body"].s().set(task_id="b")
    body.link_error(chord_app.tasks["errback"].s())
    unlock.push_request(id="poll", called_directly=False, retries=3, delivery_info={})
    with pytest.raises(MaxRetriesExceededError):
        unlock.run("g", dict(body), result=[(("never", None), None)], max_retries=3)
    [(task_id, exc)] = bodies
    assert task_id == "b"
    assert str(exc) == "The header of g was not ready after all its polls"
    assert chord_app.AsyncResult("b").state == "FAILURE"
