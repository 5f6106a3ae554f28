"""Calls without options take a short way, which must lead where the long one does."""

from __future__ import annotations

import datetime
from unittest import mock

import pytest
from kombu.exceptions import EncodeError

from taskq import TaskQ, group, signals
from taskq._state import _task_stack
from taskq.app.context import Context
from taskq.app.shortcut import Shortcut


@pytest.fixture
def app():
    app = TaskQ("short", broker="memory://", backend="cache+memory://", set_as_current=False)
    yield app
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")


@pytest.fixture
def add(app):
    @app.task(name="add")
    def add(x, y=0):
        return x + y

    add.delay(0)  # the first one makes the short way
    messages(app)
    return app.tasks["add"]


@pytest.fixture
def short():
    """How many calls took the short way."""
    with mock.patch.object(Shortcut, "send", autospec=True, side_effect=Shortcut.send) as send:
        yield send


def messages(app, queue="celery"):
    """Take all messages off a queue: headers, properties, body, content type and encoding."""
    found = []
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        app.amqp.queues[queue](channel).declare()
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            properties = {**message.properties}
            properties.pop("delivery_tag", None)
            found.append(
                (message.headers, properties, message.body, message.content_type,
                 message.content_encoding, message.delivery_info["routing_key"])
            )  # fmt: skip
    return found


def both_ways(app, call):
    """Return the messages of a call that went the short way, and of one that went the long one."""
    with mock.patch.object(Shortcut, "send", autospec=True, side_effect=Shortcut.send) as send:
        call()
        (one,) = messages(app)
        assert send.call_count == 1
        signals.before_task_publish.connect(ignore)
        try:
            call()
        finally:
            signals.before_task_publish.disconnect(ignore)
        (other,) = messages(app)
        assert send.call_count == 1
    return one, other


def ignore(**kwargs):
    pass


CALLS = {
    "no arguments": lambda add: add.apply_async((1,), task_id="id"),
    "arguments": lambda add: add.apply_async((1,), {"y": 2}, task_id="id"),
    "typed arguments": lambda add: add.apply_async((datetime.date(2020, 1, 2), "ä"), task_id="id"),
    "long arguments": lambda add: add.apply_async(("x" * 5000,), task_id="id"),
    "in a workflow": lambda add: add.apply_async(
        (1,), task_id="id", root_id="r", parent_id="p", group_id="g", group_index=3, reply_to="q"
    ),
    "in a chord": lambda add: add.apply_async((1,), task_id="id", group_id="g", chord=add.si(7)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"task_compression": "gzip"},
        {"task_default_delivery_mode": 1},
        {"task_default_priority": 3, "task_queue_max_priority": 5},
        {"task_soft_time_limit": 4, "task_time_limit": 5, "task_ignore_result": True},
    ],
    ids=lambda settings: ",".join(settings) or "defaults",
)
def test_same_message(app, add, call, settings):
    app.conf.update(settings)
    short, long = both_ways(app, lambda: call(add))
    assert short == long
    assert list(short[0]) == list(long[0])  # and in the same order


def test_same_message_for_tasks_with_attributes(app):
    task = app.task(name="special", queue="elsewhere", priority=4, ignore_result=True, time_limit=9)
    special = task(lambda: None)

    def call():
        special.apply_async(task_id="id")

    with mock.patch.object(Shortcut, "send", autospec=True, side_effect=Shortcut.send) as send:
        call()
        assert send.call_count == 1
    (one,) = messages(app, "elsewhere")
    signals.before_task_publish.connect(ignore)
    try:
        call()
    finally:
        signals.before_task_publish.disconnect(ignore)
    assert messages(app, "elsewhere") == [one]


def test_result_handle(app, add):
    result = add.delay(1)
    assert result.id == messages(app)[0][0]["id"]
    assert (result.ignored, result.backend) == (False, add.backend)
    add.ignore_result = True
    assert add.delay(1).ignored


def test_group_takes_the_short_way(app, add, short):
    result = group(add.s(number) for number in range(5)).apply_async()
    assert short.call_count == 5
    headers = [message[0] for message in messages(app)]
    assert [each["id"] for each in headers] == [child.id for child in result.results]
    assert [each["group_index"] for each in headers] == list(range(5))
    assert {each["group"] for each in headers} == {result.id}


def test_settings_that_change_are_seen(app, add, short):
    app.conf.task_compression = "gzip"
    add.delay(1)
    assert messages(app)[0][0]["compression"] == "application/x-gzip"
    app.conf.task_routes = {"add": {"queue": "routed"}}
    add.delay(1)
    assert len(messages(app, "routed")) == 1
    assert short.call_count == 1
    app.conf.task_routes = None
    app.conf.task_send_sent_event = True
    add.delay(1)
    assert short.call_count == 1
    app.conf.task_send_sent_event = False
    add.delay(1)
    assert short.call_count == 2
    app.conf.task_always_eager = True
    assert add.delay(1, 2).get() == 3
    assert short.call_count == 2


@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish])
def test_receivers_are_called(add, signal):
    seen = []

    def receive(sender, **kwargs):
        seen.append(sender)

    signal.connect(receive)
    try:
        add.delay(1)
    finally:
        signal.disconnect(receive)
    assert seen == ["add"]


def test_what_is_replaced_is_called(app, add, short):
    with mock.patch.object(app, "send_task") as send_task:
        add.delay(1)
    assert send_task.call_count == 1
    with mock.patch.object(app.amqp, "send_task_message") as send_task_message:
        add.delay(1)
    assert send_task_message.call_count == 1
    producer = mock.Mock()
    add.apply_async((1,), producer=producer)
    assert producer.publish.call_count == 1
    add.delay(1)
    assert len(messages(app)) == 1
    assert short.call_count == 1


def test_overridden_methods_are_called(app, short):
    class Shadowed(app.Task):
        def shadow_name(self, args, kwargs, options):
            return f"shadow-{args[0]}"

    task = app.task(name="shadowed", base=Shadowed)(lambda x: x)
    task.delay(5)
    assert messages(app)[0][0]["shadow"] == "shadow-5"
    assert short.call_count == 0


def test_running_task_is_the_parent(app, add, short):
    add.request_stack.push(Context(id="running", root_id="root", called_directly=False))
    _task_stack.push(add)
    try:
        add.delay(1)
    finally:
        _task_stack.pop()
        add.request_stack.pop()
    (message,) = messages(app)
    assert (message[0]["parent_id"], message[0]["root_id"]) == ("running", "root")
    assert short.call_count == 0


def test_other_serializers_take_the_long_way(app, short):
    task = app.task(name="pickled", serializer="pickle")(lambda x: x)
    task.delay(task.s(1))
    assert messages(app)[0][3] == "application/x-python-serialize"
    assert short.call_count == 0


def test_what_cannot_be_serialised_is_explained(app, add):
    with pytest.raises(EncodeError, match="add"):
        add.delay(object())
    assert messages(app) == []


def test_wrong_arguments_are_refused(app, add):
    with pytest.raises(TypeError):
        add.delay()
    with pytest.raises(TypeError, match="list or tuple"):
        app.task(name="untyped", typing=False)(lambda x: x).apply_async("text")
    assert messages(app) == []


def test_bulk_call_sends_one_task_for_each_element(app, add, short):
    result = add.map_async(range(3))
    assert short.call_count == 3
    found = messages(app)
    assert [message[0]["id"] for message in found] == [child.id for child in result.results]
    assert [message[0]["argsrepr"] for message in found] == ["(0,)", "(1,)", "(2,)"]
    assert {message[0]["group"] for message in found} == {result.id}
    assert [message[0]["group_index"] for message in found] == [0, 1, 2]


def test_bulk_call_with_several_arguments_and_options(app, add):
    result = add.starmap_async([(1, 2), [3, 4]], priority=2)
    found = messages(app)
    assert [message[0]["argsrepr"] for message in found] == ["(1, 2)", "(3, 4)"]
    assert {message[1]["priority"] for message in found} == {2}
    assert len(result) == 2


def test_bulk_call_with_arguments_that_do_not_fit(app, add):
    with pytest.raises(TypeError):
        add.starmap_async([(1,), (1, 2, 3)])


def test_bulk_call_runs_eagerly_where_all_calls_do(app, add):
    app.conf.task_always_eager = True
    assert add.map_async([1, 2]).get() == [1, 2]
