"""Messages that a broker of ours takes once, by their ids: how bodies of chords are sent."""

from __future__ import annotations

import time

import pytest

from taskq import TaskQ, chain, group
from tests.integration.project import wait_until


@pytest.fixture(params=["redis", "sqlite", "amqp"])
def app(request, unique):
    with TaskQ("once", broker=request.getfixturevalue(f"{request.param}_url")) as app:
        app.conf.task_default_queue = unique
        yield app


def publish_once(app, sig, lifetime=60):
    with app.producer_or_acquire(None) as producer, app.amqp.batch(producer, once=lifetime):
        sig.apply_async(producer=producer)


def received(app):
    """Take all messages from the queue; return their ids in order."""
    ids = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        queue = app.amqp.default_queue(channel)
        queue.declare()
        while message := queue.get(no_ack=True):
            ids.append(message.headers["id"])
    return ids


def task(app, task_id):
    return app.signature("t").set(task_id=task_id)


def test_a_message_is_taken_once(app):
    for sig in (task(app, "a"), group(task(app, "a"), task(app, "b")), task(app, "b")):
        publish_once(app, sig)
    if app.connection().transport.driver_type == "amqp":
        # RabbitMQ remembers nothing.
        assert received(app) == ["a", "a", "b", "b"]
    else:
        assert received(app) == ["a", "b"]


def test_other_ways_of_publishing_do_not_count(app):
    task(app, "a").apply_async()
    publish_once(app, task(app, "a"))
    task(app, "a").apply_async()
    assert received(app) == ["a", "a", "a"]


def test_a_workflow_is_taken_once(app):
    workflow = chain(task(app, "first"), task(app, "second"))
    publish_once(app, workflow)
    assert received(app) == ["first"]


@pytest.mark.parametrize("app", ["redis", "sqlite"], indirect=True)
def test_nothing_is_remembered_of_what_was_not_sent(app):
    def fail_after_sending():
        with app.producer_or_acquire(None) as producer, app.amqp.batch(producer, once=60):
            task(app, "a").apply_async(producer=producer)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError):
        fail_after_sending()
    publish_once(app, task(app, "a"))
    assert received(app) == ["a"]


@pytest.mark.parametrize("app", ["redis", "sqlite"], indirect=True)
def test_ids_are_forgotten(app):
    publish_once(app, task(app, "a"), lifetime=1)

    def taken_again():
        publish_once(app, task(app, "a"), lifetime=1)
        time.sleep(0.2)
        return len(received(app)) == 1

    received(app)
    wait_until(taken_again)
