"""Messages that the worker won't run: what is rejected, what is acknowledged, and who is told."""

from __future__ import annotations

import queue

import pytest
from kombu.exceptions import ContentDisallowed

from taskq import TaskQ, signals
from taskq.contrib.testing.worker import start_worker


@pytest.fixture
def app(unique):
    app = TaskQ("unfit", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = unique
    return app


@pytest.fixture
def rejected():
    """The arguments of every `task_rejected`, as they come."""
    told: queue.Queue = queue.Queue()

    def tell(**arguments):
        told.put(arguments)

    signals.task_rejected.connect(tell)
    yield told
    signals.task_rejected.disconnect(tell)


def publish(app, body, content_type, headers):
    with app.connection_for_write() as connection:
        connection.Producer().publish(
            body,
            routing_key=app.conf.task_default_queue,
            declare=[app.amqp.queues[app.conf.task_default_queue]],
            content_type=content_type,
            content_encoding="utf-8",
            headers=headers,
        )


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("application/x-python-serialize", "pickle"),
        ("application/x-yaml", "yaml"),
        ("application/x-unheard-of", "application/x-unheard-of"),
    ],
)
def test_a_task_in_content_that_is_not_accepted_is_rejected(app, rejected, content_type, name):
    app.task(lambda: None, name="never", shared=False)
    publish(app, "no matter", content_type, {"task": "never", "id": "1"})

    with start_worker(app, perform_ping_check=False):
        told = rejected.get(timeout=30)

    assert isinstance(told["exc"], ContentDisallowed)
    assert str(told["exc"]) == (
        f"Refusing to deserialize untrusted content of type {name} ({content_type})"
    )
    assert told["message"]._state == "REJECTED"
