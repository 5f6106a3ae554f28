"""What the tests of Redis share: connections, a loop to run, a server of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kombu import Consumer, Exchange, Queue
from kombu.asynchronous import Hub
from redis import Redis

from taskq.transport import Connection
from tests.services import free_port

#: Seconds until a test gives up waiting for something.
PATIENCE = 20.0


def wait_for(condition: Callable[[], Any], timeout: float = PATIENCE) -> Any:
    """Return the first true value of *condition*; fail when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still waiting after {timeout} s"
        time.sleep(0.01)


def send(connection: Any, queue: str, *bodies: Any, **options: Any) -> None:
    """Publish bodies to a queue through the default exchange."""
    if "content_type" not in options:
        options.setdefault("serializer", "json")
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange="", routing_key=queue, **options)


def bodies_in(client: Redis, *lists: str) -> list[Any]:
    """Return the bodies of the messages in these lists, the one delivered next first."""
    import base64
    import json

    return [
        json.loads(base64.b64decode(json.loads(entry)["body"]))
        for name in lists
        for entry in reversed(client.lrange(name, 0, -1))
    ]


class Receiver:
    """A consumer in an event loop: takes messages, keeps them, settles them when told to."""

    def __init__(
        self, url: str, *queues: str, prefetch: int = 10, ack: bool = False, **options: Any
    ) -> None:
        self.messages: list[Any] = []
        self.ack = ack
        self.url, self.queues, self.prefetch, self.options = url, queues, prefetch, options
        self.hub = Hub()
        self.connect()

    def connect(self) -> None:
        """Connect and consume, as a worker does at its start and after a lost connection."""
        self.connection = Connection(self.url, transport_options=self.options)
        self.channel = self.connection.default_channel
        self.consumer = Consumer(
            self.channel,
            [Queue(name, Exchange(""), name) for name in self.queues],
            on_message=self.on_message,
            accept=["json"],
        )
        self.consumer.qos(prefetch_count=self.prefetch)
        self.consumer.consume()
        self.connection.register_with_event_loop(self.hub)

    def on_message(self, message: Any) -> None:
        self.messages.append(message)
        if self.ack:
            message.ack()

    @property
    def bodies(self) -> list[Any]:
        return [message.payload for message in self.messages]

    def turn(self, times: int = 1) -> None:
        """Run turns of the loop, each at most a few milliseconds long."""
        for _ in range(times):
            self.hub.call_later(0.005, lambda: None)
            self.hub.run_once()

    def run_until(self, condition: Callable[[], Any], timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"still waiting after {timeout} s: {self.bodies}"
            self.turn()

    def receive(self, count: int, timeout: float = PATIENCE) -> list[Any]:
        """Run until so many messages came; return their bodies."""
        self.run_until(lambda: len(self.messages) >= count, timeout)
        return self.bodies

    def close(self) -> None:
        self.connection.close()
        self.hub.close()


@contextmanager
def receiving(url: str, *queues: str, **options: Any) -> Iterator[Receiver]:
    """Give a `Receiver` and close it."""
    receiver = Receiver(url, *queues, **options)
    try:
        yield receiver
    finally:
        receiver.close()


class Server:
    """A Redis server of one test: can be stopped, started again, killed."""

    def __init__(self, folder: Any, *options: str) -> None:
        self.binary = shutil.which("redis-server")
        if self.binary is None:
            pytest.skip("redis-server is not installed")
        self.port = free_port()
        self.folder = folder
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> Redis:
        return Redis(port=self.port, **options)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir",
             str(self.folder), "--save", "", *self.options],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(self._answers)

    def _answers(self) -> bool:
        from redis import exceptions

        try:
            return bool(self.client().ping())
        except exceptions.AuthenticationError:
            return True
        except exceptions.ConnectionError:
            return False

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@contextmanager
def script(source: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python source in a process of its own, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
