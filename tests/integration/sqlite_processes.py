"""Processes for the tests of the SQLite transport: each runs one function of this module."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from taskq.transport import Connection

#: Fresh interpreters: nothing is shared with the test's process but the file.
spawn = multiprocessing.get_context("spawn")


class Process:
    """A process that runs `function(url, say, *args)`; `say` sends lines to the test."""

    def __init__(self, function: Callable[..., Any], url: str, *args: Any) -> None:
        self._lines, say = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_run, args=(function, url, say, args), daemon=True)
        self._process.start()
        say.close()
        self.pid: int = self._process.pid or 0

    def hear(self, timeout: float = 30) -> Any:
        """Return the next thing the process says."""
        assert self._lines.poll(timeout), "the process said nothing in time"
        return self._lines.recv()

    def signal(self, number: int) -> None:
        """Send a signal; a killed process has ended when this returns."""
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            self.join()

    def join(self, timeout: float = 30) -> int | None:
        """Wait for the end and return the exit code."""
        self._process.join(timeout)
        return self._process.exitcode

    def close(self) -> None:
        """End the process whatever it does."""
        if self._process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        self._process.join()
        self._lines.close()


def _run(function: Callable[..., Any], url: str, say: Any, args: tuple[Any, ...]) -> None:
    function(url, say.send, *args)


def produce(url: str, say: Callable[[Any], None], name: str, count: int) -> None:
    """Publish numbered messages to the queue q."""
    with Connection(url) as connection:
        producer = connection.Producer()
        for number in range(count):
            producer.publish(f"{name}-{number}", routing_key="q")
    say("done")


def consume(url: str, say: Callable[[Any], None], prefetch: int) -> None:
    """Acknowledge everything in the queue q, until told to stop; say all bodies at the end."""
    seen: list[str] = []
    stopped = False

    def receive(message: Any) -> None:
        nonlocal stopped
        stopped = message.payload == "stop"
        if not stopped:
            seen.append(message.payload)
        message.ack()

    with Connection(url) as connection:
        channel = connection.channel()
        channel.basic_qos(0, prefetch)
        channel.basic_consume("q", False, receive, "tag")
        while not stopped:
            connection.drain_events(timeout=30)
    say(seen)


def hold(url: str, say: Callable[[Any], None], count: int) -> None:
    """Take messages of the queue q and keep them until this process is killed."""
    with Connection(url) as connection:
        channel = connection.channel()
        say([channel.basic_get("q").payload for _ in range(count)])
        time.sleep(600)


def hold_then_acknowledge(url: str, say: Callable[[Any], None]) -> None:
    """Take one message, be slow, and acknowledge it; say what was logged meanwhile."""
    import logging

    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("taskq").addHandler(handler)
    with Connection(url) as connection:
        channel = connection.channel()
        message = channel.basic_get("q")
        say(message.payload)
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            time.sleep(0.05)
        message.ack()
        say(records)


def lock(url: str, say: Callable[[Any], None]) -> None:
    """Take the write lock in the middle of a transaction and keep it."""
    with Connection(url) as connection:
        channel = connection.channel()
        with connection.transport.database.transaction() as transaction:
            transaction.execute("DELETE FROM message")
            say("locked")
            time.sleep(600)
        channel.close()


def answer(url: str, say: Callable[[Any], None], hostname: str) -> None:
    """Answer pings on the control mailbox, like a worker."""
    from kombu.pidbox import Mailbox

    with Connection(url) as connection:
        mailbox = Mailbox("test", type="fanout", accept=["json"])(connection)
        node = mailbox.Node(hostname, channel=connection.channel())
        node.handlers["ping"] = lambda state, **kwargs: "pong"
        with node.listen():
            say("listening")
            while True:
                try:
                    connection.drain_events(timeout=1)
                except TimeoutError:
                    continue


def store_results(url: str, say: Callable[[Any], None], ids: list[str], pause: float) -> None:
    """Store the time as the result of every task, with pauses (seconds)."""
    from taskq import TaskQ

    app = TaskQ("test", backend=url, set_as_current=False)
    for task_id in ids:
        time.sleep(pause)
        app.backend.store_result(task_id, time.time(), "SUCCESS")
    say("done")


def count_parts(url: str, say: Callable[[Any], None], chord: str, task_ids: list[str]) -> None:
    """Count header tasks of a chord; say which of them claimed it."""
    from taskq.backends.sqlite.chords import ChordCounter
    from taskq.transport.sqlite.database import Database
    from taskq.transport.sqlite.options import parse_url

    counter = ChordCounter(Database(parse_url(url)))
    say([task_id for task_id in task_ids if counter.count(chord, task_id).claimed])
