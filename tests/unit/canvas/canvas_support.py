"""An app that needs no server, its tasks, and the messages it sends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from taskq import TaskQ


@dataclass(frozen=True)
class Sent:
    """A message as it was sent."""

    task: str
    headers: dict[str, Any]
    args: list[Any]
    kwargs: dict[str, Any]
    embed: dict[str, Any]
    queue: str

    @property
    def id(self) -> str:
        """Id of the task."""
        return str(self.headers["id"])


def make_app(**conf: Any) -> TaskQ:
    """Return an app on a broker and a result backend in memory, with a few tasks."""
    app = TaskQ("canvas", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_publish_retry=False, **conf)

    @app.task(name="add", shared=False)
    def add(x: Any, y: Any = 1) -> Any:
        return x + y

    @app.task(name="mul", shared=False)
    def mul(x: Any, y: Any = 2) -> Any:
        return x * y

    @app.task(name="total", shared=False)
    def total(numbers: Any) -> Any:
        return sum(numbers)

    @app.task(name="echo", shared=False)
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @app.task(name="fail", shared=False)
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ValueError("failed on purpose")

    @app.task(name="err", shared=False)
    def err(*args: Any) -> None:
        return None

    return app


def sent(app: Any, *queues: str) -> list[Sent]:
    """Return the messages that the app has sent since this was asked last."""
    messages = []
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for queue in queues or ("celery",):
            channel.queue_declare(queue)
            while True:
                message = channel.basic_get(queue)
                if message is None:
                    break
                args, kwargs, embed = json.loads(message.body)
                task = message.headers["task"]
                messages.append(Sent(task, message.headers, args, kwargs, embed, queue))
    return messages


@contextmanager
def calls_counted() -> Iterator[list[int]]:
    """Count the function calls made in the block: a measure of work that no clock disturbs."""
    import sys

    count = [0]

    def profile(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            count[0] += 1

    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(None)
