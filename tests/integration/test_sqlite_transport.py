"""The SQLite transport between real processes: sharing, dying, stopping, forking."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from kombu.pidbox import Mailbox

from taskq.transport import Connection
from tests.integration import sqlite_processes as processes
from tests.integration.sqlite_processes import Process

Start = Callable[..., Process]


@pytest.fixture
def start(sqlite_url: str) -> Iterator[Start]:
    """Return a function that starts a process on the test's file."""
    started: list[Process] = []

    def start(function: Any, *args: Any, options: str = "") -> Process:
        process = Process(function, sqlite_url + options, *args)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()


@pytest.fixture
def channel(sqlite_url: str) -> Iterator[Any]:
    with Connection(sqlite_url) as connection:
        yield connection.channel()


def send(channel: Any, *bodies: str) -> None:
    producer = channel.connection.client.Producer(channel)
    for body in bodies:
        producer.publish(body, routing_key="q")


def get(channel: Any, timeout: float) -> Any:
    """Return the next message, waiting for it."""
    deadline = time.monotonic() + timeout
    while (message := channel.basic_get("q")) is None:
        assert time.monotonic() < deadline, f"no message within {timeout} s"
        time.sleep(0.02)
    return message


def test_many_producers_and_consumers_lose_and_double_nothing(start: Start, channel: Any) -> None:
    consumers = [start(processes.consume, prefetch) for prefetch in (0, 8)]
    producers = [start(processes.produce, name, 400) for name in "abcd"]
    for producer in producers:
        assert producer.hear() == "done"
    while channel._size("q"):
        time.sleep(0.02)
    for _ in consumers:
        send(channel, "stop")
        time.sleep(0.2)
    seen = [body for consumer in consumers for body in consumer.hear()]
    assert len(seen) == len(set(seen)) == 1600
    assert channel.connection.database.read("SELECT * FROM message") == []
    assert channel.connection.database.read("SELECT * FROM owner") == []


def test_a_killed_consumers_messages_come_back_within_seconds(start: Start, channel: Any) -> None:
    send(channel, "1", "2", "3")
    holder = start(processes.hold, 2)
    assert holder.hear() == ["1", "2"]
    # Consuming is what makes this process look after others.
    channel.basic_consume("other", True, print, "tag")
    holder.signal(signal.SIGKILL)
    killed = time.monotonic()
    messages = [get(channel, 10)]
    while len(messages) < 3:
        messages.append(get(channel, 10))
    assert time.monotonic() - killed < 5
    by_body = {message.payload: message for message in messages}
    assert by_body["1"].delivery_info["redelivered"] is True
    assert by_body["1"].headers["x-delivery-count"] == 1
    assert "redelivered" not in by_body["3"].delivery_info


def test_a_stopped_consumer_is_fenced(start: Start, channel: Any) -> None:
    send(channel, "1")
    holder = start(processes.hold_then_acknowledge, options="?lease=1")
    assert holder.hear() == "1"
    channel.basic_consume("other", True, print, "tag")
    holder.signal(signal.SIGSTOP)
    message = get(channel, 10)
    assert message.payload == "1"
    assert message.headers["redelivered"] is True
    holder.signal(signal.SIGCONT)
    logged = holder.hear()
    assert any("too late and was refused" in line for line in logged)
    assert channel.connection.database.read("SELECT count(*) FROM message") == [(1,)]
    message.ack()
    assert channel.connection.database.read("SELECT count(*) FROM message") == [(0,)]


def test_a_busy_consumer_keeps_its_lease(start: Start, channel: Any) -> None:
    send(channel, "1")
    holder = start(processes.hold_then_acknowledge, options="?lease=0.5")
    assert holder.hear() == "1"
    channel.basic_consume("other", True, print, "tag")
    assert holder.hear() == []
    assert channel.basic_get("q") is None


def test_a_process_killed_inside_a_transaction_leaves_no_trace(start: Start, channel: Any) -> None:
    send(channel, "1")
    holder = start(processes.lock)
    assert holder.hear() == "locked"
    holder.signal(signal.SIGKILL)
    send(channel, "2")
    assert [get(channel, 1).payload, get(channel, 1).payload] == ["1", "2"]


def test_a_process_stopped_inside_a_transaction_is_named_as_the_cause(
    start: Start, sqlite_url: str
) -> None:
    holder = start(processes.lock)
    assert holder.hear() == "locked"
    holder.signal(signal.SIGSTOP)
    with Connection(f"{sqlite_url}?busy_timeout=0.2") as connection:
        channel = connection.channel()
        with pytest.raises(OperationalError, match="has been locked by another process"):
            send(channel, "1")
        holder.signal(signal.SIGKILL)
        send(channel, "1")


def test_a_forked_child_does_not_touch_what_its_parent_holds(sqlite_url: str, channel: Any) -> None:
    send(channel, "1", "2")
    held = channel.basic_get("q")
    pid = os.fork()
    if pid == 0:
        # A child that uses, closes and collects the connection that it has inherited.
        send(channel, "from the child")
        held.ack()
        connection = channel.connection.client
        channel.close()
        connection.release()
        with Connection(sqlite_url) as own:
            own_message = own.channel().basic_get("q")
            os._exit(0 if own_message.payload == "2" else 1)
    assert os.waitpid(pid, 0)[1] == 0
    with Connection(sqlite_url) as other:
        bodies = sorted(get(other.channel(), 5).payload for _ in range(2))
    assert bodies == ["2", "from the child"]
    held.ack()
    channel.close()
    with Connection(sqlite_url) as other:
        payloads = sorted(get(other.channel(), 5).payload for _ in range(2))
        assert payloads == ["2", "from the child"]


def test_a_child_outlives_its_parents_connection(sqlite_url: str, channel: Any) -> None:
    """The last connection that closes removes the log; it must know that a child uses it."""
    send(channel, "1")
    to_parent, from_child = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        with Connection(sqlite_url) as own:
            child_channel = own.channel()
            send(child_channel, "2")
            os.write(from_child[1], b".")
            os.read(to_parent[0], 1)
            send(child_channel, "3")
            os._exit(0)
    os.read(from_child[0], 1)
    channel.connection.client.release()
    os.write(to_parent[1], b".")
    assert os.waitpid(pid, 0)[1] == 0
    with Connection(sqlite_url) as other:
        payloads = [get(other.channel(), 1).payload for _ in range(3)]
    assert sorted(payloads) == ["1", "2", "3"]


def test_control_commands_between_processes(start: Start, sqlite_url: str) -> None:
    nodes = [start(processes.answer, name) for name in ("a@host", "b@host")]
    for node in nodes:
        assert node.hear() == "listening"
    with Connection(sqlite_url) as connection:
        mailbox = Mailbox("test", type="fanout", accept=["json"])(connection)
        started = time.monotonic()
        replies = mailbox.multi_call("ping", timeout=5, limit=2)
        assert time.monotonic() - started < 3
        assert sorted(next(iter(reply)) for reply in replies) == ["a@host", "b@host"]
        only = mailbox.call(["b@host"], "ping", timeout=5)
        assert only == [{"b@host": "pong"}]
        nodes[0].signal(signal.SIGKILL)
        connection.channel().basic_consume("any", True, print, "tag")
        deadline = time.monotonic() + 10
        while len(mailbox.multi_call("ping", timeout=1, limit=1)) != 1:
            assert time.monotonic() < deadline
        database = connection.transport.database
        while len(database.read("SELECT * FROM binding")) > 1:
            assert time.monotonic() < deadline, "the dead node's queue is still bound"
            time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_file_system(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("cannot mount a file system here")
    try:
        with Connection(f"sqlite:///{mount}/broker.db") as connection:
            channel = connection.channel()
            sent = 0

            def fill() -> None:
                nonlocal sent
                while True:
                    send(channel, f"{sent}" + "." * 20_000)
                    sent += 1

            with pytest.raises(OperationalError, match=r"broker.db.*full"):
                fill()
            assert sent > 5
            room = ["mount", "-o", "remount,size=4m", str(mount)]
            subprocess.run(room, check=True, capture_output=True)
            for number in range(sent):
                message = channel.basic_get("q")
                assert message.payload.startswith(f"{number}.")
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_an_idle_consumer_uses_no_processor_time(sqlite_url: str) -> None:
    with Connection(sqlite_url) as connection:
        connection.channel().basic_consume("q", False, print, "tag")
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=0.5)
        started = time.process_time()
        with pytest.raises(TimeoutError):
            connection.drain_events(timeout=3)
        assert time.process_time() - started < 0.03
