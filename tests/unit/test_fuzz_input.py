"""Anything at all, at the entries where strangers may send it: refused or read, never a crash."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from taskq import TaskQ
from taskq.app.trace.child import (
    execute_task,
    reset_worker_optimizations,
    setup_worker_optimizations,
)
from taskq.app.trace.outcome import FAILED, OK
from taskq.apps.multi.parsing import MultiParser, NamespacedOptionParser
from taskq.bin.worker import worker as worker_command
from taskq.bin.worker_types import AUTOSCALE
from taskq.events.state import State
from taskq.schedules import ParseException, crontab
from taskq.utils.time import maybe_iso8601, rate
from taskq.worker.consumer.gossip import Gossip
from taskq.worker.pidbox import Pidbox

fuzzing = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

#: What JSON can say, also what it should not.
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["w1@h", "NaN", "9999-12-31T23:59:59+00:00", 10**400, -1, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def with_keys(*names: str) -> st.SearchStrategy[Any]:
    """Mappings with some of these keys, or something else altogether."""
    return st.dictionaries(st.sampled_from(names), junk, max_size=len(names)) | junk


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    app = TaskQ("fuzz", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


# -- events

EVENT_KEYS = (
    *("type", "hostname", "timestamp", "local_received", "clock", "uuid", "pid", "utcoffset"),
    *("name", "args", "freq", "id", "topic", "action", "cver", "parent_id", "root_id", "result"),
)
TYPES = ("worker-heartbeat", "worker-online", "worker-offline", "task-received", "task-sent", "x")


def events() -> st.SearchStrategy[Any]:
    whole = st.fixed_dictionaries(
        {
            "type": st.sampled_from(TYPES),
            "hostname": st.just("w1@h") | junk,
            "timestamp": st.just(1.0) | junk,
            "clock": st.integers(0, 9) | junk,
            "uuid": st.just("a") | junk,
            "pid": st.just(1) | junk,
        },
        optional=dict.fromkeys(EVENT_KEYS[7:], junk),
    )
    return whole | with_keys(*EVENT_KEYS)


@fuzzing
@given(bodies=st.lists(events(), max_size=4))
@example(bodies=[{"type": "worker-heartbeat", "hostname": "a", "timestamp": "soon", "clock": 1}])
@example(bodies=[{"type": "worker-heartbeat", "hostname": [], "timestamp": 1, "clock": 1}])
@example(bodies=[{"type": "worker-heartbeat", "hostname": "a", "timestamp": 1, "clock": "late"}])
@example(
    bodies=[
        {
            "type": "worker-online",
            "hostname": "a",
            "timestamp": 1.0,
            "clock": 1,
            "pid": 1,
            key: None,
        }
        for key in ("freq", "alive", "expire_window", "id")
    ]
)
def test_events_in_a_monitor(app: Any, bodies: list[Any]) -> None:
    state = State()
    receiver = app.events.Receiver(None, handlers={"*": state.event})
    receiver._receive(bodies, None)
    for worker in state.workers.values():
        assert worker.alive in (True, False)
    list(state.tasks_by_time())


@fuzzing
@given(
    payloads=st.lists(events(), max_size=4),
    key=st.sampled_from(["worker.heartbeat", "worker.elect", "worker.elect.ack", "worker.online"]),
)
def test_events_in_a_worker(app: Any, payloads: list[Any], key: str) -> None:
    timer = SimpleNamespace(call_after=lambda *args: None, call_repeatedly=lambda *args: None)
    consumer = SimpleNamespace(
        app=app, hostname="me@h", pid=1, timer=timer, event_dispatcher=None, gossip=None
    )
    gossip = Gossip(consumer, without_gossip=True)
    gossip.state = app.events.State(on_node_join=gossip.on_node_join)
    gossip.update_state = gossip.state.event
    gossip.dispatcher = SimpleNamespace(send=lambda *args, **kwargs: None)
    receiver = app.events.Receiver(None)
    for payload in payloads:
        message = SimpleNamespace(payload=payload, headers={}, delivery_info={"routing_key": key})
        gossip.on_message(receiver.event_from_message, message)
    gossip.periodic()


# -- control

COMMANDS = (
    *("ping", "revoke", "terminate", "rate_limit", "time_limit", "query_task", "stats", "nothing"),
    *("revoke_by_stamped_headers", "election", "memdump", "enable_events", "add_consumer"),
)


@fuzzing
@given(
    body=st.fixed_dictionaries(
        {"method": st.sampled_from(COMMANDS) | junk},
        optional={
            "arguments": with_keys("task_id", "task_name", "rate_limit", "signal", "soft", "queue"),
            "destination": st.just(["me@h"]) | junk,
            "reply_to": with_keys("exchange", "routing_key"),
            "ticket": junk,
            "pattern": junk,
            "matcher": st.sampled_from(["glob", "pcre"]) | junk,
        },
    )
    | junk
)
def test_control_messages(app: Any, body: Any) -> None:
    consumer = SimpleNamespace(app=app, hostname="me@h", pool=None, controller=None)
    pidbox = Pidbox(consumer)
    pidbox.reset = lambda: None  # type: ignore[method-assign]
    pidbox.node.reply = lambda *args, **kwargs: None
    pidbox.on_message(body, SimpleNamespace(headers={}, properties={}))


# -- task messages

HEADERS = (
    *("id", "task", "group", "retries", "timelimit", "eta", "expires", "stamps", "root_id"),
    *("argsrepr", "ignore_result", "stamped_headers", "replaced_task_nesting", "compression"),
)


@pytest.fixture
def child(app: Any) -> Iterator[None]:
    setup_worker_optimizations(app, "me@h")
    yield
    reset_worker_optimizations(app)


@fuzzing
@given(
    headers=st.dictionaries(st.sampled_from(HEADERS), junk),
    body=st.binary(max_size=60)
    | junk.map(lambda value: json.dumps(value).encode())
    | st.tuples(junk, junk, with_keys("callbacks", "errbacks", "chain", "chord")).map(
        lambda value: json.dumps(value).encode()
    ),
    content_type=st.sampled_from(["application/json", "application/x-python-serialize", "x"]),
    encoding=st.sampled_from(["utf-8", "binary", "klingon"]),
)
@example(headers={}, body=b"[" * 200_000, content_type="application/json", encoding="utf-8")
def test_bodies_of_task_messages(
    child: None, headers: dict[str, Any], body: bytes, content_type: str, encoding: str
) -> None:
    headers = {**headers, "task": "add", "id": "a"}
    payload = ("add", "a", headers, body, content_type, encoding, {}, {})
    assert execute_task(payload).kind in {OK, FAILED, *range(2, 6)}


# -- texts that people write


@fuzzing
@given(st.text("0123456789*,-/ abcSUNmonL#?", max_size=12) | st.text(max_size=8) | junk)
@example("*/0")
@example("1-999999999")
@example("5-1/2,*")
def test_fields_of_crontabs(text: Any) -> None:
    for field in ("minute", "hour", "day_of_week", "day_of_month", "month_of_year"):
        try:
            crontab(**{field: text})
        except (ParseException, ValueError, TypeError):
            continue


@fuzzing
@given(st.text("0123456789./smh -e", max_size=8) | st.text(max_size=8))
@example("1e999/s")
@example("nan")
def test_rates(text: str) -> None:
    try:
        value = rate(text)
    except ValueError:
        return
    assert isinstance(value, float | int)
    assert not math.isnan(value)


@fuzzing
@given(st.text("0123456789-:+TZ.,W ", max_size=30) | st.text(max_size=10))
@example("10000-01-01")
@example("0000-00-00T99:99:99+99:99")
def test_times(text: str) -> None:
    try:
        maybe_iso8601(text)
    except (ValueError, OverflowError):
        return


@fuzzing
@given(st.text("0123456789,- ", max_size=8) | st.text(max_size=6))
def test_autoscale(text: str) -> None:
    try:
        most, least = AUTOSCALE.convert(text, None, None)
    except click.BadParameter:
        return
    assert most >= least


@fuzzing
@given(
    st.lists(
        st.sampled_from(
            [
                "-c",
                "--concurrency",
                "-Q",
                "-O",
                "-P",
                "--autoscale",
                "-n",
                "-l",
                "--time-limit",
                "--max-tasks-per-child",
                "--heartbeat-interval",
                "-X",
                "-B",
                "-E",
                "-s",
                "--",
            ]
        )
        | st.text(max_size=6),
        max_size=6,
    )
)
def test_options_of_the_worker(app: Any, arguments: list[str]) -> None:
    context = click.Context(worker_command, obj=SimpleNamespace(app=app, quiet=True))
    try:
        worker_command.parse_args(context, list(arguments))
    except (click.ClickException, click.exceptions.Exit):
        return


@fuzzing
@given(
    st.lists(
        st.sampled_from(["3", "a", "b@h", "-c", "-c:1", "-Q:a,b", "--pidfile=x", "-c:1-3", "--"])
        | st.text("ab:1-3,=@%", max_size=8),
        max_size=6,
    )
)
def test_options_of_multi(arguments: list[str]) -> None:
    parser = NamespacedOptionParser(arguments)
    try:
        parser.parse()
        list(MultiParser(cmd="worker").parse(parser))
    except (ValueError, KeyError):
        return  # the command shows what it says
