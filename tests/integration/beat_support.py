"""Beats of a project as processes, and the messages that they sent."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.project import SCRIPTS, Project, Worker


def start_beat(
    project: Project,
    *options: str,
    name: str = "beat",
    command: str = "taskq",
    app: str = "proj",
    wait_for: str | None = "beat: Starting...",
) -> Worker:
    """Start a beat, and wait until its log has a text."""
    log = project.directory / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(SCRIPTS / command), "-A", app, "beat", "-l", "INFO", *options],
            cwd=project.directory,
            env=project.env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    beat = Worker(process, log)
    project._workers.append(beat)
    if wait_for:
        beat.wait_for_log(wait_for, 60)
    return beat


@contextmanager
def running_beat(project: Project, *options: str, **kwargs: Any) -> Iterator[Worker]:
    """A beat for the length of a block."""
    beat = start_beat(project, *options, **kwargs)
    try:
        yield beat
    finally:
        if beat.process.poll() is None:
            beat.stop(signal.SIGTERM)


def take_messages(project: Project) -> list[Any]:
    """Take what waits in the project's queue."""
    app = project.proj.app
    found = []
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[project.queue](connection.default_channel)
        queue.declare()
        while (message := queue.get(no_ack=True)) is not None:
            found.append(message)
    return found


def kill(beat: Worker) -> None:
    """End a beat without giving it a chance."""
    os.kill(beat.pid, signal.SIGKILL)
    beat.process.wait()
