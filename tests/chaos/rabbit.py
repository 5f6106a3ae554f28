"""A RabbitMQ of a test's own, which is killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from kombu import Connection

from tests.integration.project import wait_until
from tests.services import free_port

#: Where packages put the program itself; the one on the path wants to be the administrator.
PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
#: Seconds that a node may take to start.
START_TIMEOUT = 90.0


class DurableRabbit:
    """A node that keeps its data in a directory."""

    def __init__(self, directory: Path) -> None:
        program = PROGRAM if os.path.exists(PROGRAM) else shutil.which("rabbitmq-server")
        if program is None:
            pytest.skip("rabbitmq-server is not installed")
        self._program = program
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._environment = {
            **os.environ,
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"taskq-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
        }
        self.start()

    def start(self) -> None:
        """Start it and wait until it lets clients in."""
        self.process = subprocess.Popen(
            [self._program],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self._answers, START_TIMEOUT, "RabbitMQ did not start")

    def _answers(self) -> bool:
        with Connection(self.url, connect_timeout=2) as connection:
            try:
                connection.connect()
            except OSError:
                return False
            return True

    def kill(self) -> None:
        """End it as a power cut does."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def durable_rabbit(tmp_path):
    directory = tmp_path / "rabbit"
    directory.mkdir()
    server = DurableRabbit(directory)
    yield server
    server.kill()
