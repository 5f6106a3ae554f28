"""Results in memcached."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import TaskQ
from taskq.app.task import Context
from taskq.exceptions import BackendStoreError


def app_at(url: str, **settings: Any) -> TaskQ:
    url = url if url.startswith("cache+") else f"cache+{url}"
    app = TaskQ("cache", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture
def app(memcached_url: str) -> Iterator[TaskQ]:
    app = app_at(memcached_url)
    yield app
    app.close()


@pytest.fixture
def task_id() -> str:
    return uuid.uuid4().hex


def test_state_and_result(app: TaskQ, task_id: str) -> None:
    result = app.AsyncResult(task_id)
    assert result.state == "PENDING"
    app.backend.store_result(task_id, {"x": "ü"}, "SUCCESS")
    assert result.get(timeout=5) == {"x": "ü"}
    result.forget()
    assert result.state == "PENDING"


def test_waiting_for_many(app: TaskQ, task_id: str) -> None:
    ids = [f"{task_id}{n}" for n in range(50)]

    def store() -> None:
        for number, each in enumerate(ids):
            app.backend.store_result(each, number, "SUCCESS")

    threading.Timer(0.1, store).start()
    assert app.ResultSet([app.AsyncResult(each) for each in ids]).get(timeout=20) == list(range(50))


def test_results_expire(memcached_url: str, task_id: str) -> None:
    app = app_at(memcached_url, result_expires=1)
    app.backend.store_result(task_id, 1, "SUCCESS")
    assert app.AsyncResult(task_id).state == "SUCCESS"
    threading.Event().wait(2.5)
    assert app.AsyncResult(task_id).state == "PENDING"


def test_results_kept_for_longer_than_a_month(memcached_url: str, task_id: str) -> None:
    app = app_at(memcached_url, result_expires=40 * 86400)
    app.backend.store_result(task_id, 1, "SUCCESS")
    assert app.AsyncResult(task_id).state == "SUCCESS"


def test_header_tasks_that_end_together(app: TaskQ, task_id: str) -> None:
    bodies: list[Any] = []

    @app.task(name="body", shared=False)
    def body(values: list[Any]) -> None:
        bodies.append(values)

    app.conf.task_always_eager = True
    app.conf.task_store_eager_result = True
    size = 12
    ids = [f"{task_id}{n}" for n in range(size)]
    signature = body.s().set(task_id=f"{task_id}body")
    app.backend.apply_chord((task_id, [app.AsyncResult(each) for each in ids]), signature)
    together = threading.Barrier(size)

    def end(number: int) -> None:
        request = Context(
            id=ids[number],
            group=task_id,
            group_index=number,
            chord=dict(signature),
            delivery_info={},
        )
        together.wait(30)
        for _ in range(2):  # each is delivered twice
            app.backend.mark_as_done(ids[number], number, request=request)

    threads = [threading.Thread(target=end, args=[n]) for n in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert bodies == [list(range(size))]


def test_a_forked_child_has_a_connection_of_its_own(app: TaskQ, task_id: str) -> None:
    app.backend.store_result(task_id, 1, "SUCCESS")
    pid = os.fork()
    if not pid:
        status = 1
        try:
            for number in range(50):
                app.backend.store_result(f"{task_id}child{number}", number, "SUCCESS")
            status = 0
        finally:
            os._exit(status)
    for number in range(50):
        app.backend.store_result(f"{task_id}parent{number}", number, "SUCCESS")
    assert os.waitpid(pid, 0)[1] == 0
    assert app.AsyncResult(f"{task_id}child49").result == 49


def test_a_server_that_stays_away_is_given_up(task_id: str) -> None:
    app = app_at(
        "cache+memcached://127.0.0.1:1/",
        result_backend_always_retry=True,
        result_backend_max_retries=2,
        result_backend_max_sleep_between_retries_ms=1,
    )
    with pytest.raises(BackendStoreError):
        app.backend.store_result(task_id, 1, "SUCCESS")
