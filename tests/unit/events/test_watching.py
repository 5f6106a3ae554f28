"""Dumper and cameras."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from taskq.events.dumper import Dumper, JsonDumper, humanize_type
from taskq.events.snapshot import Polaroid
from taskq.events.state import State


class Entry:
    """A timer's entry."""

    def __init__(self, seconds: float, function: Any) -> None:
        self.seconds = seconds
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Timer:
    """A timer that tests turn by hand."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def call_repeatedly(self, seconds: float, function: Any) -> Entry:
        self.entries.append(Entry(seconds, function))
        return self.entries[-1]


class Camera(Polaroid):
    """Counts."""

    clear_after = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pictures: list[list[str]] = []
        self.cleanups = 0

    def on_shutter(self, state: Any) -> None:
        self.pictures.append(list(state.tasks))

    def on_cleanup(self) -> None:
        self.cleanups += 1


def state_with(*types: str) -> State:
    state = State()
    for clock, type_ in enumerate(types, start=1):
        state.event(
            {
                "type": f"task-{type_}",
                "uuid": type_,
                "hostname": "w",
                "clock": clock,
                "timestamp": 1.0,
                "local_received": 1.0,
            }
        )
    return state


def dump(**event: Any) -> str:
    out = io.StringIO()
    Dumper(out=out).on_event({"hostname": "w1", "timestamp": 1000.0, **event})
    return out.getvalue().rstrip("\n").removeprefix("w1 [1970-01-01 00:16:40+00:00] ")


def test_events_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    dumper = JsonDumper(out=out)
    dumper.remark("connection lost")
    event = {"hostname": "w1", "timestamp": 1000.5, "type": "task-sent", "args": "(é\n)"}
    dumper.on_event(event)
    assert json.loads(out.getvalue()) == event
    assert out.getvalue().count("\n") == 1
    assert capsys.readouterr().err == "connection lost\n"


def test_lines_of_events() -> None:
    assert humanize_type("task-received") == "task received"
    assert dump(type="worker-online", freq=2.0, pid=3) == "started: freq=2.0, pid=3"
    assert dump(type="worker-offline") == "shutdown "
    received = dump(
        type="task-received", uuid="line", name="n", args="(1,)", kwargs="{}", retries=0
    )
    assert received == "task received: n(line) args=(1,) kwargs={} retries=0"
    started = dump(type="task-started", uuid="line", pid=1)
    assert started == "task started: n(line) args=(1,) kwargs={} pid=1"
    assert (
        dump(type="task-failed", uuid="unknown", exception="E()") == "task failed:  exception=E()"
    )


def test_camera_takes_pictures_on_time_and_a_last_one() -> None:
    timer = Timer()
    camera = Camera(state_with("received", "succeeded"), freq=2.0, cleanup_freq=10.0, timer=timer)
    with camera:
        shutter, cleanup = timer.entries
        assert (shutter.seconds, cleanup.seconds) == (2.0, 10.0)
        shutter.function()
        cleanup.function()

    assert camera.pictures == [["received", "succeeded"], ["received"]]
    assert camera.cleanups == 1
    assert shutter.cancelled
    assert cleanup.cancelled


def test_camera_takes_no_more_pictures_than_allowed() -> None:
    camera = Camera(state_with(), maxrate="1/h", timer=Timer())
    for _ in range(5):
        camera.capture()

    assert len(camera.pictures) == 1


def test_signals_of_cameras() -> None:
    state = state_with()
    seen: list[Any] = []

    def on_shutter(sender: Any, **kwargs: Any) -> None:
        seen.append(("shutter", sender))

    def on_cleanup(sender: Any, **kwargs: Any) -> None:
        seen.append(("cleanup", sender))

    Polaroid.shutter_signal.connect(on_shutter, sender=state)
    Polaroid.cleanup_signal.connect(on_cleanup, sender=state)
    camera = Polaroid(state, timer=Timer())
    camera.capture()
    camera.cleanup()

    assert seen == [("shutter", state), ("cleanup", state)]
