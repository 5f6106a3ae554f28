"""The SQLite result backend: what is kept, waiting for it, chords; between real processes."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ, states
from taskq.backends.sqlite.chords import ChordCounter
from taskq.transport.sqlite.database import Database
from taskq.transport.sqlite.options import parse_url
from tests.integration import sqlite_processes as processes
from tests.integration.sqlite_processes import Process


@pytest.fixture
def make_app(sqlite_url: str) -> Iterator[Callable[..., TaskQ]]:
    """Return a function that makes an app with results in the test's file."""
    made = []

    def make(**settings: Any) -> TaskQ:
        app = TaskQ("test", backend=sqlite_url, set_as_current=False)
        app.conf.update(settings)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., TaskQ]) -> TaskQ:
    return make_app()


def count(app: TaskQ, table: str = "result") -> int:
    database = Database(parse_url(app.conf.result_backend))
    ((rows,),) = database.read(f"SELECT count(*) FROM {table}")
    database.close()
    return int(rows)


def test_what_was_stored_is_there_for_others(make_app: Callable[..., TaskQ]) -> None:
    make_app().backend.store_result("1", {"a": [1]}, states.SUCCESS)
    meta = make_app().backend.get_task_meta("1")
    assert meta["status"] == states.SUCCESS
    assert meta["result"] == {"a": [1]}
    assert meta["task_id"] == "1"
    assert meta["date_done"]


def test_failures_come_back_as_exceptions(app: TaskQ) -> None:
    app.backend.store_result("1", KeyError("x"), states.FAILURE, traceback="tb")
    result = app.AsyncResult("1")
    with pytest.raises(KeyError):
        result.get(timeout=5)
    assert result.traceback == "tb"


def test_an_unknown_task_is_pending(app: TaskQ) -> None:
    assert app.AsyncResult("none").state == states.PENDING


@pytest.mark.parametrize("state", [states.STARTED, states.FAILURE, states.RETRY, states.SUCCESS])
def test_a_stored_success_stays(app: TaskQ, state: str) -> None:
    app.backend.store_result("1", "first", states.SUCCESS)
    value = ValueError("second") if state in states.EXCEPTION_STATES else "second"
    app.backend.store_result("1", value, state)
    meta = app.backend.get_task_meta("1", cache=False)
    assert (meta["status"], meta["result"]) == (states.SUCCESS, "first")


def test_other_states_follow_each_other(app: TaskQ) -> None:
    for state in (states.STARTED, states.RETRY, states.FAILURE, states.SUCCESS):
        app.backend.store_result("1", None, state)
        assert app.backend.get_task_meta("1", cache=False)["status"] == state


def test_forgetting(app: TaskQ) -> None:
    app.backend.store_result("1", 1, states.SUCCESS)
    app.AsyncResult("1").forget()
    assert app.AsyncResult("1").state == states.PENDING
    assert count(app) == 0


def test_results_expire(make_app: Callable[..., TaskQ]) -> None:
    app = make_app(result_expires=0.05, result_failure_expires=60)
    app.backend.store_result("1", 1, states.SUCCESS)
    app.backend.store_result("2", KeyError(), states.FAILURE)
    time.sleep(0.06)
    assert app.AsyncResult("1").state == states.PENDING
    assert app.AsyncResult("2").state == states.FAILURE
    app.backend.cleanup()
    assert count(app) == 1


def test_expired_results_go_while_others_are_stored(make_app: Callable[..., TaskQ]) -> None:
    app = make_app(result_expires=0.01)
    for number in range(1000):
        app.backend.store_result(str(number), 1, states.SUCCESS)
    time.sleep(0.02)
    for number in range(1000):
        app.backend.store_result(f"new-{number}", 1, states.SUCCESS)
    assert count(app) < 1500


@pytest.mark.parametrize("never", [None, 0])
def test_results_may_be_kept_for_ever(make_app: Callable[..., TaskQ], never: Any) -> None:
    app = make_app(result_expires=never)
    app.backend.store_result("1", 1, states.SUCCESS)
    app.backend.cleanup()
    assert app.AsyncResult("1").get(timeout=1) == 1


def test_compressed_results(make_app: Callable[..., TaskQ]) -> None:
    app = make_app(result_compression="gzip")
    app.backend.store_result("1", "x" * 10_000, states.SUCCESS)
    assert app.AsyncResult("1").get(timeout=1) == "x" * 10_000


def test_counters(app: TaskQ) -> None:
    backend = app.backend
    assert [backend.incr("n"), backend.incr("n")] == [1, 2]
    backend.expire("n", -1)
    assert backend.incr("n") == 1
    backend.delete("n")
    assert backend.get("n") is None


def test_groups(app: TaskQ) -> None:
    group = app.GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")])
    group.save()
    assert [each.id for each in app.GroupResult.restore("g").results] == ["a", "b"]
    group.delete()
    assert app.GroupResult.restore("g") is None


def test_waiting_sees_what_another_process_stores(app: TaskQ) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    storing = Process(processes.store_results, app.conf.result_backend, ids, 0.02)
    try:
        latencies = []
        for task_id in ids:
            stored_at = app.AsyncResult(task_id).get(timeout=20)
            latencies.append(time.time() - stored_at)
        assert sorted(latencies)[10] < 0.2
    finally:
        storing.close()


def test_waiting_sees_every_state(app: TaskQ) -> None:
    seen: list[str] = []
    stored = [states.STARTED, "PROGRESS", states.SUCCESS]

    def store() -> None:
        for state in stored:
            time.sleep(0.1)
            app.backend.store_result("1", None, state)

    thread = threading.Thread(target=store)
    thread.start()
    app.AsyncResult("1").get(timeout=10, on_message=lambda meta: seen.append(meta["status"]))
    thread.join()
    assert seen == stored


def test_many_threads_wait_on_one_backend(app: TaskQ) -> None:
    ids = [str(uuid.uuid4()) for _ in range(10)] * 2
    values: list[Any] = []
    threads = [
        threading.Thread(
            target=lambda task_id=task_id: values.append(app.AsyncResult(task_id).get(timeout=10))
        )
        for task_id in ids
    ]
    for thread in threads:
        thread.start()
    for task_id in set(ids):
        app.backend.store_result(task_id, task_id, states.SUCCESS)
    for thread in threads:
        thread.join(15)
    assert sorted(values) == sorted(ids)


def test_joining_many_results(app: TaskQ) -> None:
    ids = [str(uuid.uuid4()) for _ in range(500)]
    storing = Process(processes.store_results, app.conf.result_backend, ids, 0)
    try:
        results = app.ResultSet([app.AsyncResult(task_id) for task_id in ids])
        assert len(results.join_native(timeout=30)) == 500
    finally:
        storing.close()


def test_waiting_for_a_result_that_was_stored_and_forgotten_before_another(app: TaskQ) -> None:
    """A result that takes the place of a deleted one must not be taken for old news."""
    started = threading.Event()

    def store() -> None:
        started.wait()
        for number in range(5):
            app.backend.store_result(f"other-{number}", 1, states.SUCCESS)
            time.sleep(0.02)
            app.backend.forget(f"other-{number}")
        app.backend.store_result("mine", "here", states.SUCCESS)

    thread = threading.Thread(target=store)
    thread.start()
    started.set()
    begun = time.monotonic()
    assert app.AsyncResult("mine").get(timeout=10) == "here"
    assert time.monotonic() - begun < 1
    thread.join()


def test_a_forked_child_stores_and_waits_on_connections_of_its_own(app: TaskQ) -> None:
    app.backend.store_result("before", 1, states.SUCCESS)
    assert app.AsyncResult("before").get(timeout=1) == 1
    pid = os.fork()
    if pid == 0:
        app.backend.store_result("from-child", 2, states.SUCCESS)
        os._exit(0 if app.AsyncResult("from-parent").get(timeout=10) == 3 else 1)
    assert app.AsyncResult("from-child").get(timeout=10) == 2
    app.backend.store_result("from-parent", 3, states.SUCCESS)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_chord_is_claimed_once_however_many_finish_together(sqlite_url: str) -> None:
    counter = ChordCounter(Database(parse_url(sqlite_url)))
    counter.create("c", 40, None)
    counting = [
        Process(processes.count_parts, sqlite_url, "c", [f"{i}-{n}" for n in range(10)])
        for i in range(4)
    ]
    try:
        claims = [claim for process in counting for claim in process.hear()]
        assert len(claims) == 1
    finally:
        for process in counting:
            process.close()


def test_a_redelivered_header_task_is_counted_once(sqlite_url: str) -> None:
    counter = ChordCounter(Database(parse_url(sqlite_url)))
    counter.create("c", 2, None)
    assert not counter.count("c", "a").claimed
    assert not counter.count("c", "a").claimed
    assert counter.count("c", "b").claimed
    assert not counter.count("c", "a").claimed
    # Its worker died before it could send the body: it may try again, and only it.
    assert counter.count("c", "b").claimed
    counter.finish("c")
    assert not counter.count("c", "b").claimed
    assert not counter.count("c", "b").known


def test_chords_expire(make_app: Callable[..., TaskQ]) -> None:
    app = make_app(result_chord_expires=0)
    app.backend._chords.create("c", 2, 0.01)
    app.backend._chords.count("c", "a")
    time.sleep(0.02)
    app.backend.cleanup()
    assert count(app, "chord") == count(app, "chord_part") == 0


def test_a_deleted_file_is_replaced_without_losing_the_next_result(
    app: TaskQ, tmp_path: Path
) -> None:
    app.backend.store_result("1", 1, states.SUCCESS)
    for path in tmp_path.iterdir():
        path.unlink()
    app.backend.store_result("2", 2, states.SUCCESS)
    assert app.backend.get_task_meta("2")["result"] == 2
    assert app.AsyncResult("1").state == states.PENDING


def test_a_fork_does_not_make_a_waiting_thread_deaf(app: TaskQ) -> None:
    """The fork closes the connections for a moment, and the write-ahead log may go with them."""
    arrived: list[float] = []

    def wait() -> None:
        app.AsyncResult("1").get(timeout=10)
        arrived.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    time.sleep(1.2)
    stored = time.monotonic()
    app.backend.store_result("1", 1, states.SUCCESS)
    waiting.join()
    assert arrived[0] - stored < 0.5
