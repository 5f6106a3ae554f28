"""Content that an app does not accept is never decoded: tasks, results, control and events."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kombu import Producer
from kombu.exceptions import ContentDisallowed, DecodeError

from taskq.events.event import get_exchange
from taskq.exceptions import TaskRevokedError, TimeLimitExceeded
from tests.integration.conftest import Urls
from tests.integration.project import Project, Worker, wait_until
from tests.integration.test_events import receiving

CODE = """
@app.task(name="t.add")
def add(x, y):
    return x + y
"""


class Bomb:
    """Goes off when it is unpickled: there is a file then."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def foreign_bodies(bomb: Bomb) -> list[tuple[bytes, str | None, str]]:
    """Bodies as (bytes, content type, encoding), none of them JSON."""
    pickled = pickle.dumps([[bomb], {}, {}])
    return [
        (pickled, "application/x-python-serialize", "binary"),
        (b"[[1, 2], {}, {}]", "application/x-yaml", "utf-8"),
        (b"\x93\x92\x01\x02\x80\x80", "application/x-msgpack", "binary"),
        (pickled, "application/data", "binary"),
        (b"[[1, 2], {}, {}]", "application/text", "utf-8"),
        (pickled, "application/x-nobody-knows", "binary"),
        (pickled, None, "binary"),
        (pickled, "application/json", "utf-8"),
    ]


@pytest.fixture
def project(urls: Urls, make_project: Callable[..., Project]) -> Project:
    name = f"{urls.name}-{id(urls)}"
    conf = {"event_exchange": f"ev-{name}", "control_exchange": f"ct-{name}"}
    return make_project(CODE, broker=urls.broker, backend=urls.backend, conf=conf)


def send(app: Any, body: bytes, content_type: Any, encoding: str, **options: Any) -> None:
    """Publish bytes as they are."""
    declare = [options["exchange"]] if "exchange" in options else []
    with app.connection_for_write() as connection:
        Producer(connection).publish(
            body,
            content_type=content_type,
            content_encoding=encoding,
            declare=declare,
            **options,
        )


def send_as_event(app: Any, body: bytes, content_type: Any, encoding: str) -> None:
    exchange = get_exchange(app.connection_for_write(), name=app.conf.event_exchange)
    headers = {"hostname": "stranger"}
    options = {"exchange": exchange, "routing_key": "worker.heartbeat", "headers": headers}
    send(app, body, content_type, encoding, **options)


def is_well(project: Project, worker: Worker) -> None:
    """The worker still answers, and still runs tasks."""
    add = project.proj.add
    assert add.delay(2, 2).get(timeout=20) == 4
    wait_until(lambda: project.proj.app.control.inspect(timeout=2).ping())
    assert worker.process.poll() is None


def test_a_worker_drops_what_it_does_not_accept(project: Project, tmp_path: Path) -> None:
    app = project.proj.app
    bomb = Bomb(tmp_path / "went-off")
    with project.worker("-c", "1") as worker:
        is_well(project, worker)
        for number, (body, content_type, encoding) in enumerate(foreign_bodies(bomb)):
            headers = {"task": "t.add", "id": f"foreign-{number}", "lang": "py"}
            send(app, body, content_type, encoding, routing_key=project.queue, headers=headers)
            # Protocol 1: everything is in the body.
            send(app, body, content_type, encoding, routing_key=project.queue)
            send(app, body, content_type, encoding, exchange=app.control.mailbox.exchange)
            send_as_event(app, body, content_type, encoding)
        is_well(project, worker)
        for number in range(len(foreign_bodies(bomb))):
            assert f"t.add[foreign-{number}] succeeded" not in worker.log
        assert "Refusing to deserialize" in worker.log
        assert "Control message can't be decoded" in worker.log
    assert not Path(bomb.path).exists()


def test_a_monitor_drops_events_it_does_not_accept(
    project: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = project.proj.app
    bomb = Bomb(tmp_path / "went-off")
    with receiving(app) as seen, app.events.default_dispatcher() as dispatcher:

        def arrives(type: str) -> bool:
            return any(event["type"] == type for event in seen)

        def listens() -> bool:
            dispatcher.send("worker-first")
            return arrives("worker-first")

        wait_until(listens)
        for body, content_type, encoding in foreign_bodies(bomb):
            send_as_event(app, body, content_type, encoding)
        dispatcher.send("worker-last")
        wait_until(lambda: arrives("worker-last"))
    assert {event["type"] for event in seen} == {"worker-first", "worker-last"}
    assert "Could not decode event" in caplog.text
    assert not Path(bomb.path).exists()


@pytest.mark.parametrize("stored", ["application/x-python-serialize", "application/x-yaml"])
def test_results_of_a_type_that_is_not_accepted(
    amqp_url: str, make_project: Callable[..., Project], tmp_path: Path, stored: str
) -> None:
    project = make_project(CODE, broker=amqp_url, backend="rpc://")
    app = project.proj.app
    bomb = Bomb(tmp_path / "went-off")
    result = app.AsyncResult("foreign")
    with app.producer_pool.acquire(block=True) as producer:
        app.backend.on_task_call(producer, "foreign")
    body = pickle.dumps({"task_id": "foreign", "status": "SUCCESS", "result": bomb})
    send(
        app,
        body,
        stored,
        "binary",
        routing_key=app.backend.oid,
        correlation_id="foreign",
    )
    with pytest.raises(ContentDisallowed):
        result.get(timeout=20)
    assert not Path(bomb.path).exists()


def test_a_result_store_reads_only_the_result_serializer(
    redis_url: str, make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    backend = project.proj.app.backend
    bomb = Bomb(tmp_path / "went-off")
    key = backend.get_key_for_task("foreign")
    backend.set(key, pickle.dumps({"task_id": "foreign", "status": "SUCCESS", "result": bomb}))
    with pytest.raises(DecodeError):
        project.proj.app.AsyncResult("foreign").get(timeout=20)
    assert not Path(bomb.path).exists()


def test_result_accept_content_comes_before_accept_content(
    redis_url: str, make_project: Callable[..., Project]
) -> None:
    conf = {"result_serializer": "yaml", "result_accept_content": ["json"]}
    project = make_project(CODE, broker=redis_url, backend=redis_url, conf=conf)
    backend = project.proj.app.backend
    backend.store_result("one", 1, "SUCCESS")
    with pytest.raises(ContentDisallowed):
        project.proj.app.AsyncResult("one").get(timeout=20)


def test_what_is_accepted_ends_visibly_even_where_it_does_not_run(
    sqlite_url: str, make_project: Callable[..., Project]
) -> None:
    """The main process decodes a body too, when it settles a task itself."""
    conf = {"task_serializer": "pickle", "accept_content": ["json", "pickle"]}
    code = """
    @app.task
    def add(x, y):
        return x + y

    @app.task
    def tell(*args):
        print("told", args[1:])

    @app.task
    def hang():
        time.sleep(60)
    """
    project = make_project(code, broker=sqlite_url, backend=sqlite_url, conf=conf)
    add, hang, tell = project.proj.add, project.proj.hang, project.proj.tell
    with project.worker("-c", "1") as worker:
        expired = add.apply_async((1, 2), expires=-5)
        with pytest.raises(TaskRevokedError):
            expired.get(timeout=20)
        with pytest.raises(TimeLimitExceeded):
            hang.apply_async(time_limit=1, link_error=tell.s()).get(timeout=20)
        worker.wait_for_log("TimeLimitExceeded")
        worker.wait_for_log("told")
