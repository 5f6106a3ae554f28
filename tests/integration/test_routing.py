"""Where messages go on real brokers, and what workers take."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.project import Project, wait_until

CODE = """
from kombu import Exchange, Queue
from kombu.common import Broadcast

@app.task
def note(text):
    with open("notes", "a") as notes:
        notes.write(text + "\\n")

@app.task
def pass_on(queue):
    note.apply_async(("passed",), queue=queue)
"""


def notes(project: Project) -> list[str]:
    path = project.directory / "notes"
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def unique() -> str:
    return f"h-{os.urandom(4).hex()}"


@pytest.mark.parametrize("broker", ["redis", "amqp", "sqlite"])
def test_broadcast_queues_reach_every_worker(
    make_project: Callable[..., Project], request: pytest.FixtureRequest, broker: str, unique: str
) -> None:
    url = request.getfixturevalue(f"{broker}_url")
    code = f"{CODE}\napp.conf.task_queues = (Queue(app.conf.task_default_queue), "
    code += f"Broadcast('{unique}'))\n"
    project = make_project(code, broker=url, backend=None)
    with project.worker("-c", "1"), project.worker("-c", "1"):
        project.proj.note.apply_async(("all",), queue=unique)
        wait_until(lambda: notes(project) == ["all", "all"])
        project.proj.note.delay("one")
        wait_until(lambda: notes(project).count("one") == 1)


def test_what_no_queue_wants_goes_to_the_alternate_exchange(
    make_project: Callable[..., Project], amqp_url: str, unique: str
) -> None:
    code = f"""{CODE}
rest = Exchange("{unique}-rest", type="fanout")
main = Exchange("{unique}", type="topic", arguments={{"alternate-exchange": rest.name}})
app.conf.task_queues = (
    Queue("{unique}-video", main, routing_key="video.#"),
    Queue("{unique}-rest", rest),
)
app.conf.task_default_queue = "{unique}-video"
"""
    project = make_project(code, broker=amqp_url, backend=None)
    try:
        with project.worker("-c", "1", "-Q", f"{unique}-rest"):
            send = project.proj.note.apply_async
            send(("video",), exchange=unique, routing_key="video.short")
            send(("other",), exchange=unique, routing_key="audio")
            wait_until(lambda: notes(project) == ["other"])
        with project.worker("-c", "1", "-Q", f"{unique}-video"):
            wait_until(lambda: notes(project) == ["other", "video"])
    finally:
        with project.proj.app.connection() as connection:
            for name in (f"{unique}-video", f"{unique}-rest"):
                connection.default_channel.queue_delete(name)
                connection.default_channel.exchange_delete(name)
            connection.default_channel.exchange_delete(unique)


def test_a_queue_is_known_by_its_alias(
    make_project: Callable[..., Project], sqlite_url: str, unique: str
) -> None:
    code = f"{CODE}\napp.conf.task_queues = (Queue('{unique}', alias='short'),)\n"
    project = make_project(
        code, broker=sqlite_url, backend=None, conf={"task_default_queue": unique}
    )
    with project.worker("-c", "1"):
        project.proj.note.apply_async(("aliased",), queue="short")
        wait_until(lambda: notes(project) == ["aliased"])


def test_a_worker_does_not_take_what_its_own_tasks_send_elsewhere(
    make_project: Callable[..., Project], own_redis: Any, unique: str
) -> None:
    url, start, stop = own_redis
    project = make_project(CODE, broker=url, backend=None)
    # In one process, the queue that is sent to becomes known to the worker itself.
    with project.worker("-P", "solo") as worker:
        project.proj.pass_on.delay(unique)
        worker.wait_for_log("succeeded in")
        stop()
        worker.wait_for_log("Connection to broker lost")
        start()
        wait_until(lambda: worker.log.count("Connected to") == 2)
        project.proj.note.delay("own")
        wait_until(lambda: notes(project) == ["own"])
        control = project.proj.app.control
        queues = wait_until(lambda: control.inspect(timeout=2, limit=1).active_queues())
        assert [queue["name"] for (listed,) in [queues.values()] for queue in listed] == [
            project.queue
        ]
        # Unless it is told to.
        control.add_consumer(unique, reply=True, timeout=5, limit=1)
        wait_until(lambda: notes(project) == ["own", "passed"])


def test_several_urls_are_tried_in_turn(
    make_project: Callable[..., Project], own_redis: Any, redis_url: str
) -> None:
    url, start, stop = own_redis
    project = make_project(CODE, broker=f"{url};{redis_url}", backend=None)
    with project.worker("-c", "1") as worker:
        project.proj.note.delay("first")
        wait_until(lambda: notes(project) == ["first"])
        stop()
        worker.wait_for_log("Will retry using next failover")
        wait_until(lambda: worker.log.count("Connected to") == 2)
        project.proj.note.delay("second")
        wait_until(lambda: notes(project) == ["first", "second"])
        start()


def test_reading_and_writing_at_different_urls(
    make_project: Callable[..., Project], own_redis: Any, redis_url: str
) -> None:
    url, _, _ = own_redis
    conf = {"broker_read_url": redis_url, "broker_write_url": url}
    project = make_project(CODE, broker="redis://127.0.0.1:1/0", backend=None, conf=conf)
    with project.worker("-c", "1") as worker:
        app = project.proj.app
        with app.connection_for_write() as writing:
            project.proj.note.delay("written")
            assert writing.default_channel.queue_declare(project.queue).message_count == 1
        with app.connection_for_read() as reading:
            project.proj.note.apply_async(("read",), connection=reading)
            wait_until(lambda: notes(project) == ["read"])
        assert "Cannot connect" not in worker.log


def test_every_message_tells_a_priority(make_project, amqp_url):
    app = make_project("", broker=amqp_url, backend=None).proj.app
    app.send_task("nobody")
    app.send_task("nobody", priority=5)
    with app.connection_for_read() as connection:
        seen = [
            connection.default_channel.basic_get(app.conf.task_default_queue, no_ack=True)
            for _ in range(2)
        ]
    assert sorted(message.properties["priority"] for message in seen) == [0, 5]
