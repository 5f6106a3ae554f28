"""A Celery worker runs taskq's messages and the reverse; either side reads the results."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.integration.conftest import Urls

CODE = """
from decimal import Decimal

app.conf.accept_content = ["json", "pickle", "yaml", "msgpack"]

@app.task(name="t.add")
def add(x, y=1):
    return x + y

@app.task(name="t.fail")
def fail(text):
    raise ValueError(text)

@app.task(name="t.echo", bind=True)
def echo(self, value):
    r = self.request
    return {"value": value, "id": r.id, "root_id": r.root_id, "parent_id": r.parent_id,
            "retries": r.retries, "headers": r.headers, "eta": r.eta, "expires": r.expires,
            "timelimit": list(r.timelimit), "queue": r.delivery_info["routing_key"],
            "priority": r.delivery_info["priority"], "shadow": r.shadow,
            "reply_to": bool(r.reply_to), "correlation_id": r.correlation_id}

@app.task(name="t.flaky", bind=True, max_retries=3, default_retry_delay=0.1)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(exc=RuntimeError("not yet"))
    return self.request.retries

@app.task(name="t.silent", ignore_result=True)
def silent():
    return 1

@app.task(name="t.progress", bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    time.sleep(1)
    return "done"
"""

#: client package, worker command
SIDES = [("taskq", "celery"), ("celery", "taskq")]
BROKERS = ["redis+redis", "amqp+redis", "amqp+rpc", "amqp+db"]


@pytest.fixture(params=BROKERS)
def urls(request: pytest.FixtureRequest) -> Urls:
    """Brokers and result backends that both know."""
    broker, backend = request.param.split("+")
    url = request.getfixturevalue(f"{broker}_url")
    backends = {"rpc": lambda: "rpc://"}
    backends["redis"] = lambda: request.getfixturevalue("redis_url")
    backends["db"] = lambda: "db+" + request.getfixturevalue("postgres_url")
    return Urls(broker, url, backends[backend]())


@pytest.fixture(params=SIDES, ids=["taskq to celery", "celery to taskq"])
def sides(request, make_project, urls):
    """The client's module, with a worker of the other package running."""
    client, command = request.param
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    celery = project.as_package("celery", "cproj")
    module = celery if client == "celery" else project.proj
    app = "cproj" if command == "celery" else "proj"
    with project.worker("-c", "2", command=command, app=app) as worker:
        yield module, worker, urls


def test_calls_and_results(sides):
    proj, worker, urls = sides
    assert proj.add.delay(2, 2).get(timeout=15) == 4
    assert proj.add.apply_async((2,), {"y": 5}).get(timeout=15) == 7

    failed = proj.fail.delay("oops")
    with pytest.raises(ValueError, match="oops"):
        failed.get(timeout=15)
    assert failed.state == "FAILURE"
    assert "ValueError: oops" in failed.traceback
    assert proj.flaky.delay().get(timeout=15) == 2

    result = proj.progress.delay()
    if "postgres" in urls.backend:
        # Celery's database backend has no on_message.
        assert result.get(timeout=15) == "done"
    else:
        states = []
        assert result.get(timeout=15, on_message=states.append) == "done"
        assert "PROGRESS" in [message["status"] for message in states]

    silent = proj.silent.delay()
    worker.wait_for_log(f"[{silent.id}] succeeded")
    assert silent.get() is None


def test_requests_look_the_same(sides):
    proj, _, _ = sides
    result = proj.echo.apply_async(
        ("x",),
        countdown=1,
        expires=60,
        headers={"mine": 1},
        shadow="other",
        time_limit=50,
        soft_time_limit=40,
    )
    seen = result.get(timeout=15)
    assert seen["id"] == seen["root_id"] == seen["correlation_id"] == result.id
    assert seen["parent_id"] is None
    assert seen["headers"] == {"mine": 1}
    assert seen["timelimit"] == [50, 40]
    assert seen["shadow"] == "other"
    assert seen["reply_to"]
    assert seen["queue"] == proj.app.conf.task_default_queue
    assert dt.datetime.fromisoformat(seen["eta"]) < dt.datetime.fromisoformat(seen["expires"])


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_serializers_and_compression(sides, serializer):
    proj, _, _ = sides
    value = {"text": "ü" * 200, "list": [1, 2.5, None, True]}
    for compression in (None, "zlib", "bzip2"):
        result = proj.echo.apply_async((value,), serializer=serializer, compression=compression)
        assert result.get(timeout=15)["value"] == value


def test_an_expired_message_is_revoked(sides):
    proj, _, _ = sides
    result = proj.add.apply_async((1, 1), countdown=1, expires=0.3)
    with pytest.raises(Exception, match=r"expired|revoked"):
        result.get(timeout=15)
    assert result.state == "REVOKED"
