"""Events as lines of text or of JSON, as they come: ``taskq events --dump``."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from kombu.utils.json import dumps

from taskq.app import app_or_default
from taskq.events.capture import capture_events
from taskq.utils.functional import LRUCache
from taskq.utils.time import humanize_seconds

__all__ = ("Dumper", "evdump")

#: Id of a task -> how it is shown; later events don't tell its name.
TASK_NAMES = LRUCache(limit=4095)

HUMAN_TYPES = {
    "worker-offline": "shutdown",
    "worker-online": "started",
    "worker-heartbeat": "heartbeat",
}

CONNECTION_ERROR = "-> Cannot connect to %s: %s.\nTrying again %s\n"


def humanize_type(type: str) -> str:
    """Return an event type for people: ``task received``."""
    lowered = type.lower()
    return HUMAN_TYPES.get(lowered) or lowered.replace("-", " ")


class Dumper:
    """Writes events.

    - out: text stream to write to.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self.out = out

    def say(self, msg: str) -> None:
        """Write a line at once: somebody may be watching through a pipe."""
        print(msg, file=self.out, flush=True)

    def remark(self, text: str) -> None:
        """Write what is no event: that it begins, or that the connection was lost."""
        self.say(text)

    def on_event(self, ev: dict[str, Any]) -> None:
        """Write an event."""
        fields = dict(ev)
        when = datetime.fromtimestamp(fields.pop("timestamp"), UTC)
        type_ = fields.pop("type").lower()
        hostname = fields.pop("hostname")
        if type_.startswith("task-"):
            uuid = fields.pop("uuid")
            if type_ in {"task-received", "task-sent"}:
                task = TASK_NAMES[uuid] = "{}({}) args={} kwargs={}".format(
                    fields.pop("name"), uuid, fields.pop("args"), fields.pop("kwargs")
                )
            else:
                task = TASK_NAMES.get(uuid, "")
            self.format_task_event(hostname, when, type_, task, fields)
            return
        self._write(hostname, when, type_, "", fields)

    def format_task_event(
        self, hostname: str, timestamp: Any, type: str, task: str, event: dict[str, Any]
    ) -> None:
        """Write an event about a task.

        - task: how it is shown; event: the fields left.
        """
        self._write(hostname, timestamp, type, f"{task} ", event)

    def _write(
        self, hostname: str, when: Any, type: str, task: str, fields: dict[str, Any]
    ) -> None:
        values = ", ".join(f"{name}={fields[name]}" for name in sorted(fields))
        colon = ":" if fields else ""
        self.say(f"{hostname} [{when}] {humanize_type(type)}{colon} {task}{values}")


class JsonDumper(Dumper):
    """Writes each event as a JSON object on a line of its own."""

    def on_event(self, ev: dict[str, Any]) -> None:
        """Write an event with all its fields."""
        self.say(dumps(ev))

    def remark(self, text: str) -> None:
        """Write what is no event where it is in nobody's way."""
        print(text, file=sys.stderr, flush=True)


def evdump(app: Any = None, out: TextIO = sys.stdout, *, json: bool = False) -> None:
    """Write events until interrupted; connects again when the connection is lost.

    - app: the current one by default; out: text stream; json: an object to each line.
    """
    app = app_or_default(app)
    dumper = JsonDumper(out=out) if json else Dumper(out=out)
    dumper.remark("-> evdump: starting capture...")
    url = app.connection_for_read().as_uri()

    def on_error(exc: BaseException, interval: float) -> None:
        dumper.remark(CONNECTION_ERROR % (url, exc, humanize_seconds(interval, "in", " ")))

    try:
        capture_events(
            app,
            {"*": dumper.on_event},
            on_error=on_error,
            on_lost=lambda: dumper.remark("-> Connection lost, attempting reconnect"),
        )
    except (KeyboardInterrupt, SystemExit):
        return
