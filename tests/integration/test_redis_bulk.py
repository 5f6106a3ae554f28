"""Groups and bulk calls on Redis: messages written with a stencil are those of single calls."""

from __future__ import annotations

import base64
import datetime
import json

import pytest
from kombu.exceptions import EncodeError

from taskq import TaskQ, chord, group, signals
from taskq.transport.redis.stencil import Stencil


@pytest.fixture
def app(redis_url, unique):
    app = TaskQ("bulk", broker=redis_url, set_as_current=False)
    app.conf.task_default_queue = unique
    app.conf.task_ignore_result = True
    with app:
        yield app


def make_add(app, **attributes):
    @app.task(name="add 100%s %(id)s", **attributes)
    def add(x, y=0):
        return x + y

    return app.tasks[add.name]


@pytest.fixture
def add(app):
    return make_add(app)


@pytest.fixture
def written(monkeypatch):
    """The envelopes that were written with a stencil."""
    envelopes = []
    fill = Stencil.filled

    def filled(self, body, texts):
        envelopes.append(fill(self, body, texts))
        return envelopes[-1]

    monkeypatch.setattr(Stencil, "filled", filled)
    return envelopes


def envelopes(app, client, priority=None):
    """Take all messages of a priority off the queue, the oldest first."""
    found = []
    name = app.conf.task_default_queue + (f"\x06\x16{priority}" if priority else "")
    while (raw := client.rpop(name)) is not None:
        envelope = json.loads(raw)
        assert envelope["properties"].pop("delivery_tag")
        envelope["body"] = base64.b64decode(envelope["body"])
        found.append(envelope)
    return found


def in_a_batch(app, call):
    with app.producer_pool.acquire(block=True) as producer, app.amqp.batch(producer):
        call(producer)


CALLS = {
    "no arguments": ((), {}),
    "arguments": ((1,), {"kwargs": {"y": 2}}),
    "typed arguments": ((datetime.date(2020, 1, 2), 'ä"%s%(id)s\\'), {}),
    "long arguments": (("x" * 5000,), {}),
    "in a workflow": (
        (1,),
        {"root_id": "r", "parent_id": "p", "group_id": "g", "group_index": 3, "reply_to": "q"},
    ),
    "in a chord": ((1,), {"group_id": "g", "chord": {"task": "sum", "args": [], "options": {}}}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    "attributes",
    [{}, {"delivery_mode": 1}, {"priority": 3}, {"soft_time_limit": 4, "time_limit": 5}],
    ids=lambda attributes: ",".join(attributes) or "plain",
)
def test_same_messages(app, client, written, attributes, call):
    add = make_add(app, **attributes)
    args, options = call
    args = args or (1,)

    def send(producer):
        for _ in range(2):
            add.apply_async(args, task_id="the id", producer=producer, **options)

    in_a_batch(app, send)
    assert len(written) == 2
    short = envelopes(app, client, attributes.get("priority"))
    signals.before_task_publish.connect(ignore)
    try:
        in_a_batch(app, send)
    finally:
        signals.before_task_publish.disconnect(ignore)
    assert len(written) == 2
    assert short == envelopes(app, client, attributes.get("priority"))
    assert len(short) == 2


def ignore(**kwargs):
    pass


def test_bulk_call_and_group_send_one_message_for_each_call(app, add, client, written):
    called = [add.map_async(range(50)), group(add.s(i, y=1) for i in range(50)).apply_async()]
    assert len(written) == 100
    sent = envelopes(app, client)
    results = [handle for result in called for handle in result.results]
    assert [envelope["headers"]["id"] for envelope in sent] == [handle.id for handle in results]
    assert [envelope["properties"]["correlation_id"] for envelope in sent] == [
        handle.id for handle in results
    ]
    assert {envelope["headers"]["group"] for envelope in sent[:50]} == {called[0].id}
    assert [envelope["headers"]["group_index"] for envelope in sent] == [*range(50), *range(50)]
    assert json.loads(sent[7]["body"])[:2] == [[7], {}]
    assert json.loads(sent[57]["body"])[:2] == [[7], {"y": 1}]


def test_group_with_arguments_of_its_own(app, add, client):
    group(add.s(2), add.si(3)).apply_async((1,))
    assert [json.loads(each["body"])[0] for each in envelopes(app, client)] == [[1, 2], [3]]


@pytest.mark.parametrize("attributes", [{"compression": "gzip"}, {"serializer": "yaml"}])
def test_other_messages_are_not_written_that_way(app, client, written, attributes):
    make_add(app, **attributes).map_async(range(3))
    assert len(envelopes(app, client)) == 3
    assert not written


def test_what_is_refused_leaves_nothing(app, add, client):
    with pytest.raises(EncodeError, match="object"):
        add.map_async([1, object(), 3])
    with pytest.raises(TypeError):
        add.starmap_async([(1,), (1, 2, 3)])
    assert envelopes(app, client) == []


def test_header_of_a_chord(app, add, client, written):
    app.conf.task_ignore_result = False
    app.conf.result_backend = app.conf.broker_url
    chord([add.s(i) for i in range(10)], add.s()).apply_async()
    assert len(written) == 10
    bodies = [json.loads(each["body"]) for each in envelopes(app, client)]
    assert {body[2]["chord"]["task"] for body in bodies} == {add.name}
