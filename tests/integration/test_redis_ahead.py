"""Results written ahead of their answers: none is lost, none late, none overwritten."""

from __future__ import annotations

import pytest
from redis import Redis

from taskq import TaskQ, states
from taskq.app.trace import Tracer
from taskq.backends.ahead import ahead
from taskq.backends.redis import RedisBackend
from taskq.backends.redis.ahead import LARGEST, MOST_OUTSTANDING

IDS = [f"id-{number}" for number in range(5)]


def make_app(url, **settings):
    app = TaskQ("ahead", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture
def app(redis_url):
    return make_app(redis_url)


@pytest.fixture(autouse=True)
def allowed():
    ahead.allowed = True
    yield
    ahead.allowed = False
    ahead.settle()


def store(app, *ids, result="done"):
    for task_id in ids:
        assert app.backend.store_ahead(task_id, result)


def stored(app, *ids):
    """Return the results that another process would see."""
    reader = make_app(app.conf.result_backend)
    return [reader.backend.get_task_meta(task_id)["result"] for task_id in ids]


def test_result_is_there_before_anybody_waits_for_the_answer(app):
    store(app, *IDS)
    assert app.AsyncResult(IDS[-1]).get(timeout=10) == "done"
    assert ahead.unsettled
    ahead.settle()
    assert not ahead.unsettled


def test_answers_outstanding_are_bounded(app):
    ids = [f"many-{number}" for number in range(MOST_OUTSTANDING * 3 + 1)]
    store(app, *ids)
    assert len(app.backend._ahead._outstanding) == 1
    assert len(ahead.unsettled) == 1
    ahead.settle()
    assert stored(app, *ids) == ["done"] * len(ids)


def test_server_that_has_forgotten_the_script(app, redis_url):
    with Redis.from_url(redis_url) as client:
        client.script_flush()
    store(app, *IDS)
    ahead.settle()
    assert stored(app, *IDS) == ["done"] * 5


def test_connection_that_breaks_before_the_answers_are_read(app, redis_url):
    store(app, "first")
    ahead.settle()
    with Redis.from_url(redis_url) as client:
        store(app, *IDS)
        client.client_kill_filter(_type="normal", skipme=True)
    ahead.settle()
    store(app, "last")
    ahead.settle()
    assert stored(app, *IDS, "last") == ["done"] * 6


def test_server_restarts_with_answers_outstanding(server):
    app = make_app(server.url)
    store(app, *IDS)
    server.stop()
    server.start()
    ahead.settle()
    assert stored(app, *IDS) == ["done"] * 5


def test_server_that_refuses_to_write_for_a_while(app, redis_url):
    store(app, *IDS)
    ahead.settle()
    with Redis.from_url(redis_url) as client:
        client.flushdb()
        client.config_set("maxmemory", 1)
        try:
            store(app, *IDS)
        finally:
            client.config_set("maxmemory", 0)
    ahead.settle()
    assert stored(app, *IDS) == ["done"] * 5


def test_success_is_not_overwritten(app):
    app.backend.store_result("a", "kept", states.SUCCESS)
    store(app, "a", result="new")
    ahead.settle()
    assert stored(app, "a") == ["kept"]
    store(app, "b", result="kept")
    app.backend.store_result("b", ValueError("late"), states.FAILURE)
    assert stored(app, "b") == ["kept"]


def test_started_gives_way(app):
    app.backend.store_result("a", {"pid": 1}, states.STARTED)
    store(app, "a")
    ahead.settle()
    assert stored(app, "a") == ["done"]


def test_large_results_are_stored_at_once(app):
    store(app, "large", result="x" * LARGEST)
    assert not ahead.unsettled
    assert stored(app, "large") == ["x" * LARGEST]


def test_same_meta_as_stored_the_other_way(app, redis_url):
    store(app, "ahead")
    ahead.settle()
    app.backend.store_result("awaited", "done", states.SUCCESS)
    metas = [app.backend.get_task_meta(task_id) for task_id in ("ahead", "awaited")]
    for meta in metas:
        assert meta.pop("date_done")
        assert meta.pop("task_id") in {"ahead", "awaited"}
    assert metas[0] == metas[1]
    with Redis.from_url(redis_url) as client:
        times = [client.ttl(f"celery-task-meta-{name}") for name in ("ahead", "awaited")]
    assert 0 < min(times) <= max(times) <= app.conf.result_expires.total_seconds()


def test_backends_that_store_otherwise_are_left_alone(redis_url):
    class Audited(RedisBackend):
        def store_result(self, *args, **kwargs):
            return super().store_result(*args, **kwargs)

    backend = Audited(app=make_app(redis_url), url=redis_url)
    assert not backend.store_ahead("a", 1)
    limited = make_app(redis_url, redis_max_connections=2)
    assert not limited.backend.store_ahead("a", 1)


@pytest.mark.parametrize("hook", ["on_success", "after_return"])
def test_result_is_stored_when_the_task_looks_at_it(app, hook):
    seen = []

    def look(self, *args):
        seen.append(len(ahead.unsettled))

    task = app.task(name=f"with_{hook}", **{hook: look})(lambda: 1)
    Tracer(task.name, task, app=app)("looked-at", (), {}, {"id": "looked-at"})
    assert seen == [0]
    assert stored(app, "looked-at") == [1]


def test_tasks_that_are_acknowledged_late_wait(app):
    ahead.allowed = False  # what the pool says of them
    task = app.task(name="late", acks_late=True)(lambda: 1)
    Tracer(task.name, task, app=app)("late", (), {}, {"id": "late"})
    assert not ahead.unsettled
    assert stored(app, "late") == [1]


def test_tracer_writes_ahead_where_it_may(app):
    task = app.task(name="plain")(lambda: 1)
    Tracer(task.name, task, app=app)("plain", (), {}, {"id": "plain"})
    assert ahead.unsettled
    assert app.AsyncResult("plain").get(timeout=10) == 1
