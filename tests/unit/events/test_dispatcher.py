"""Sending events and receiving them, over a broker in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from kombu.exceptions import EncodeError

from taskq import TaskQ
from taskq.events import dispatcher as dispatching
from taskq.events.event import Event, group_from
from taskq.exceptions import ImproperlyConfigured


class Broken:
    """A producer whose connection is gone; it counts the tries."""

    tries = 0

    def publish(self, *args: Any, **kwargs: Any) -> None:
        self.tries += 1
        raise ConnectionResetError("gone")


class Recorder:
    """A producer that keeps what is published."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def publish(self, body: Any, routing_key: str, **kwargs: Any) -> None:
        self.sent.append((routing_key, body))

    @property
    def types(self) -> list[str]:
        return [event["type"] for _, body in self.sent for event in _listed(body)]


def _listed(body: Any) -> list[Any]:
    return body if isinstance(body, list) else [body]


@pytest.fixture
def app() -> Iterator[TaskQ]:
    app = TaskQ("events", broker="memory://", backend=None, set_as_current=False)
    yield app
    app.close()


def make(app: TaskQ, producer: Any, **options: Any) -> Any:
    made = app.events.Dispatcher(app.connection_for_write(), hostname="w1@h", **options)
    made.producer = producer
    return made


def test_event_has_type_time_and_fields() -> None:
    event = Event("task-sent", uuid="a")

    assert event["type"] == "task-sent"
    assert event["timestamp"] > 0
    assert Event("x-y", {"a": 1}, timestamp=3) == {"type": "x-y", "a": 1, "timestamp": 3}
    assert group_from("task-sent") == "task"


def test_sent_event_says_who_and_when(app: TaskQ) -> None:
    recorder = Recorder()
    make(app, recorder).send("worker-online", freq=2.0)

    ((routing_key, event),) = recorder.sent
    assert routing_key == "worker.online"
    assert set(event) == {"type", "freq", "hostname", "pid", "clock", "timestamp", "utcoffset"}


def test_only_wanted_groups_are_sent(app: TaskQ) -> None:
    recorder = Recorder()
    dispatcher = make(app, recorder, groups=["worker"])
    dispatcher.send("task-sent", uuid="a")
    dispatcher.send("worker-online")

    assert recorder.types == ["worker-online"]


def test_buffered_group_shares_a_message(app: TaskQ) -> None:
    recorder = Recorder()
    dispatcher = make(app, recorder, buffer_group=["task"], buffer_limit=3)
    dispatcher.send("task-received", uuid="a")
    dispatcher.send("task-started", uuid="a")
    assert recorder.sent == []
    dispatcher.flush()
    assert [key for key, _ in recorder.sent] == ["task.multi"]
    assert recorder.types == ["task-received", "task-started"]


def test_full_buffer_goes_by_itself(app: TaskQ) -> None:
    recorder = Recorder()
    dispatcher = make(app, recorder, buffer_group=["task"], buffer_limit=2)
    for uuid in "abc":
        dispatcher.send("task-received", uuid=uuid)

    assert len(recorder.sent) == 1


def test_events_kept_while_offline_go_in_order(app: TaskQ) -> None:
    broken, recorder = Broken(), Recorder()
    dispatcher = make(app, broken)
    for n in range(3):
        dispatcher.send(f"worker-{n}")
    dispatcher.flush()
    assert broken.tries == 4  # the first failure of a flush ends it
    dispatcher.producer = recorder
    dispatcher.flush()

    assert recorder.types == ["worker-0", "worker-1", "worker-2"]


def test_offline_buffer_is_bounded(app: TaskQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "OFFLINE_LIMIT", 10)
    recorder = Recorder()
    dispatcher = make(app, Broken(), buffer_group=["task"], buffer_limit=4)
    for n in range(100):
        dispatcher.send("task-received", uuid=str(n))
    dispatcher.producer = recorder
    dispatcher.flush()

    assert len(recorder.types) <= 10
    assert recorder.sent[-1][1][-1]["uuid"] == "99"


def test_without_buffer_the_sender_learns_of_it(app: TaskQ) -> None:
    with pytest.raises(ConnectionResetError):
        make(app, Broken(), buffer_while_offline=False).send("worker-online")


def test_closed_dispatcher_keeps_events_until_enabled(app: TaskQ) -> None:
    recorder = Recorder()
    dispatcher = make(app, recorder)
    dispatcher.close()
    dispatcher.send("worker-online")
    assert recorder.sent == []
    dispatcher.producer = recorder
    dispatcher.flush()
    assert recorder.types == ["worker-online"]


def test_event_that_cannot_be_serialized_is_not_kept(app: TaskQ) -> None:
    dispatcher = app.events.Dispatcher(app.connection_for_write())
    with pytest.raises(EncodeError):
        dispatcher.send("worker-online", field=object())
    dispatcher.flush()


def test_successor_takes_over(app: TaskQ) -> None:
    recorder = Recorder()
    old = make(app, Broken(), buffer_group=["task"])
    old.send("worker-online")
    old.send("task-received", uuid="a")
    new = make(app, recorder)
    new.extend_buffer(old)
    new.flush()
    old.send("task-succeeded", uuid="a")  # by a task that ran meanwhile

    assert recorder.types == ["worker-online", "task-received", "task-succeeded"]


def test_callbacks_when_enabled_and_disabled(app: TaskQ) -> None:
    seen: list[str] = []
    dispatcher = make(app, Recorder(), enabled=False)
    dispatcher.on_enabled.add(lambda: seen.append("on"))
    dispatcher.on_disabled.add(lambda: seen.append("off"))
    dispatcher.send("worker-online")
    dispatcher.enable()
    dispatcher.disable()

    assert seen == ["on", "off"]


def test_many_threads_may_send(app: TaskQ) -> None:
    recorder = Recorder()
    dispatcher = make(app, recorder, buffer_group=["task"])

    def send() -> None:
        for _ in range(200):
            dispatcher.send("task-received", uuid="a")

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    dispatcher.flush()

    assert len(recorder.types) == 800
    clocks = [event["clock"] for _, body in recorder.sent for event in body]
    assert len(set(clocks)) == 800


def test_receiver_gets_what_is_sent(app: TaskQ) -> None:
    got: list[Any] = []
    with app.connection_for_read() as conn:
        receiver = app.events.Receiver(
            conn, handlers={"worker-online": got.append, "*": lambda event: got.append("other")}
        )
        capture = receiver.itercapture(limit=2, timeout=5, wakeup=False)
        receiver.queue(conn.default_channel).declare()
        dispatcher = app.events.Dispatcher(conn, hostname="w1@h")
        dispatcher.send("worker-online", freq=2.0)
        dispatcher.send("task-sent", uuid="a")
        list(capture)

    assert got[0]["hostname"] == "w1@h"
    assert got[0]["local_received"] >= got[0]["timestamp"]
    assert got[1] == "other"


def test_time_of_another_zone_becomes_ours(app: TaskQ) -> None:
    with app.connection_for_read() as conn:
        receiver = app.events.Receiver(conn)
        sent = {"type": "worker-online", "clock": 1, "timestamp": 0.0, "utcoffset": -5.5}
        here = {**sent, "utcoffset": 0}
        there_time = receiver.event_from_message(dict(sent))[1]["timestamp"]
        here_time = receiver.event_from_message(dict(here))[1]["timestamp"]

    assert there_time - here_time == 5.5 * 3600


def test_queue_cannot_be_exclusive_and_durable(app: TaskQ) -> None:
    with app.connection_for_read() as conn, pytest.raises(ImproperlyConfigured, match="durable"):
        app.events.Receiver(conn, queue_exclusive=True, queue_durable=True)
