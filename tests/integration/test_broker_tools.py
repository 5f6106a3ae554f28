"""``taskq amqp`` and ``taskq migrate``, and moving tasks from Python, on real brokers."""

from __future__ import annotations

import uuid

import pytest

from taskq import TaskQ
from taskq.contrib import migrate


@pytest.fixture
def name():
    return f"tools-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("broker", ["amqp", "redis", "sqlite"])
def test_a_session_with_the_broker(make_project, request, name, broker):
    url = request.getfixturevalue(f"{broker}_url")
    project = make_project("", broker=url, backend=None)
    typed = f"""
        exchange.declare {name}x direct
        queue.declare {name}
        queue.bind {name} {name}x key
        basic.publish 'hello you' {name}x key
        queue.declare {name} true
        basic.get {name}
        basic.ack 1
        queue.purge {name}
        queue.delete {name}
        exchange.delete {name}x
        queue.declare {name} true
        basic.get {name}
    """
    if broker != "amqp":  # delivery tags are no numbers, and exchanges need not be deleted
        typed = "\n".join(line for line in typed.splitlines() if "basic.ack" not in line)
    done = project.run("-A", "proj", "amqp", input=typed)
    assert f"queue:{name} messages:0 consumers:0" in done.stdout, done.stderr
    assert f"queue:{name} messages:1 consumers:0" in done.stdout
    assert "hello you" in done.stdout
    if broker == "amqp":
        assert "NOT_FOUND" in done.stderr


def test_an_error_has_a_status(make_project, amqp_url, name):
    project = make_project("", broker=amqp_url, backend=None)
    failed = project.run("-A", "proj", "amqp", "basic.get", name)
    assert failed.returncode == 1
    assert "NOT_FOUND" in failed.stderr


def make_app(url, queue):
    app = TaskQ("migrating", broker=url, set_as_current=False)
    app.conf.task_default_queue = queue
    app.add_defaults({"result_compression": None})
    return app


def waiting(app, queue):
    """Take what waits in a queue: names and arguments, in their order."""
    found = []
    with app.connection() as connection:
        while True:
            message = app.amqp.queues[queue](connection.default_channel).get(no_ack=True)
            if message is None:
                return found
            found.append((message.headers["task"], message.decode()[0]))


def test_migrate_between_brokers(make_project, amqp_url, sqlite_url, name):
    project = make_project("", broker=amqp_url, backend=None, conf={"task_default_queue": name})
    app = make_app(amqp_url, name)
    for n in range(3):
        app.send_task("proj.add", (n, "ä"), compression="gzip", expires=600)
    app.send_task("proj.other", ())
    done = project.run(
        "-A", "proj", "migrate", amqp_url, sqlite_url, "-T", "proj.add", "-a", "-t", "0.5"
    )
    assert done.returncode == 0, done.stderr
    assert "Migrated 3 tasks." in done.stdout
    assert waiting(make_app(sqlite_url, name), name) == [("proj.add", [n, "ä"]) for n in range(3)]
    assert waiting(app, name) == [("proj.other", [])]
    with app.connection() as connection:
        connection.default_channel.queue_delete(name)


def test_migrate_copies_unless_told_to_acknowledge(redis_url, sqlite_url, name):
    app = make_app(redis_url, name)
    for n in range(3):
        app.send_task("proj.add", (n,))
    with app.connection() as source, app.connection(sqlite_url) as target:
        state = migrate.migrate_tasks(source, target, app=app, timeout=0.3, limit=2)
    assert state.count == 2
    assert len(waiting(make_app(sqlite_url, name), name)) == 2
    assert len(waiting(app, name)) == 3


def test_move_within_a_broker(sqlite_url, name):
    app = make_app(sqlite_url, name)
    ids = [app.send_task("proj.add", (n,)).id for n in range(4)]
    app.send_task("proj.slow", ())
    for queue in ("a", "b", "c"):
        app.amqp.queues.add(queue)
    options = {"app": app, "source": name, "timeout": 0.2}
    seen = []
    assert migrate.move_task_by_id(ids[2], "a", callback=lambda *a: seen.append(a), **options)
    assert len(seen) == 1
    migrate.move_by_taskmap({"proj.slow": app.amqp.queues["b"]}, **options)
    migrate.move(
        lambda body, message: migrate.task_id_in(ids[:1], body, message),
        exchange="",
        routing_key="c",
        **options,
    )
    migrate.move_direct_by_id(ids[1], "w1@host", **options)
    assert waiting(app, "a") == [("proj.add", [2])]
    assert waiting(app, "b") == [("proj.slow", [])]
    assert waiting(app, "c") == [("proj.add", [0])]
    app.amqp.queues.add(migrate.worker_direct("w1@host"))
    assert waiting(app, "w1@host.dq2") == [("proj.add", [1])]
    assert waiting(app, name) == [("proj.add", [3])]
