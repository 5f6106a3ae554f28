"""Projects and brokers for tests that run real workers."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kombu import Queue

from taskq.transport import Connection
from tests import services
from tests.integration.project import Project


@dataclass(frozen=True)
class Urls:
    """Addresses of a broker and of the result backend used with it."""

    name: str
    broker: str
    backend: str


@pytest.fixture(params=["sqlite", "redis", "amqp"])
def urls(request: pytest.FixtureRequest) -> Urls:
    """Each broker in turn, with the backend that goes with it."""
    url = request.getfixturevalue(f"{request.param}_url")
    return Urls(request.param, url, "rpc://" if request.param == "amqp" else url)


@pytest.fixture
def queue(amqp_url: str, unique: str) -> Iterator[Queue]:
    """A queue on RabbitMQ, which is empty and not bound to a channel."""
    queue = Queue(unique, durable=False)
    with Connection(amqp_url) as connection:
        queue(connection.default_channel).declare()
        yield queue
        queue(connection.default_channel).delete()


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Return a function that makes a project; what it started ends with the test."""
    made: list[Project] = []

    def make(code: str, **options: Any) -> Project:
        project = Project(tmp_path, code, **options)
        made.append(project)
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def own_redis(tmp_path: Path, free_port: int) -> Iterator[Any]:
    """A Redis server that the test may stop; gives its URL, and functions to start and stop it."""
    servers: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        servers.append(
            subprocess.Popen(
                ["redis-server", "--port", str(free_port), "--save", "", "--appendonly", "yes",
                 "--dir", str(tmp_path)],
                stdout=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def stop() -> None:
        servers[-1].send_signal(signal.SIGTERM)
        servers[-1].wait(10)

    start()
    yield f"redis://127.0.0.1:{free_port}/0", start, stop
    stop()


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    return services.free_port()


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A client of the Redis that ``redis_url`` names, to look behind the transport."""
    from redis import Redis

    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def connection(redis_url: str) -> Iterator[Any]:
    """A connection through the Redis transport."""
    with Connection(redis_url) as connection:
        yield connection


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """A Redis server of the test's own, which writes every change to disk and may be restarted."""
    from tests.integration.redis_support import Server

    server = Server(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.stop()
