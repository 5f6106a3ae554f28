"""The terminal screen, driven by keys."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from taskq import TaskQ
from taskq.events.state import State

pytest.importorskip("textual")

from taskq.events.screen import Answer, EventScreen


def filled() -> State:
    state = State()
    now = time.time()
    common = {"hostname": "w1@h", "pid": 1, "timestamp": now, "local_received": now}
    state.event({**common, "type": "worker-heartbeat", "clock": 1, "freq": 2.0, "active": 1})
    for clock in (2, 3):
        state.event(
            {
                **common,
                "type": "task-received",
                "uuid": f"id{clock}",
                "name": "t.[bold]add",
                "args": "(1, 2)",
                "clock": clock,
            }
        )
    return state


def drive(steps: Any) -> None:
    app = TaskQ("screen", broker="memory://", backend="cache+memory://", set_as_current=False)
    screen = EventScreen(app, filled())

    async def run() -> None:
        async with screen.run_test(size=(100, 30)) as pilot:
            await steps(screen, pilot)

    asyncio.run(run())
    app.close()


def rows(screen: EventScreen, table: str) -> list[list[str]]:
    found = screen.query_one(table)
    return [[str(cell) for cell in found.get_row_at(n)] for n in range(found.row_count)]


def test_workers_and_tasks_are_shown_and_follow_the_events() -> None:
    async def steps(screen: EventScreen, pilot: Any) -> None:
        assert rows(screen, "#workers")[0][:3] == ["w1@h", "ONLINE", "1"]
        assert [row[1:5] for row in rows(screen, "#tasks")] == [
            ["RECEIVED", "t.[bold]add", "w1@h", "id3"],
            ["RECEIVED", "t.[bold]add", "w1@h", "id2"],
        ]
        await pilot.press("down")
        assert screen.selected_id == "id2"
        event = {"type": "task-started", "uuid": "new", "hostname": "w1@h", "clock": 9}
        screen.state.event({**event, "timestamp": 1.0, "local_received": 1.0})
        screen.look()
        await pilot.pause()
        assert screen.selected_id == "id2"
        await pilot.resize_terminal(60, 20)
        assert len(rows(screen, "#tasks")) == 3

    drive(steps)


def test_keys_open_and_close_details() -> None:
    async def steps(screen: EventScreen, pilot: Any) -> None:
        for key in ("enter", "t", "l"):
            await pilot.press(key)
            await pilot.pause()
            assert len(screen.screen_stack) == 2, key
            await pilot.press("escape")
            await pilot.pause()
            assert len(screen.screen_stack) == 1, key

    drive(steps)


def test_revoke_says_when_nobody_answers() -> None:
    async def steps(screen: EventScreen, pilot: Any) -> None:
        await pilot.press("c")
        for _ in range(100):
            await pilot.pause(0.05)
            if isinstance(screen.screen, Answer):
                break
        assert isinstance(screen.screen, Answer)
        assert screen.screen._text == "No worker answered."

    drive(steps)
