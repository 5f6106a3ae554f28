"""The terminal screen acts on real workers and follows every size of the terminal."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from taskq.events.state import State
from tests.integration.project import Project, wait_until

pytest.importorskip("textual")

from taskq.events.screen import Answer, EventScreen

CODE = """
@app.task
def add(x, y):
    return x + y

@app.task
def wait():
    open("started", "w").close()
    time.sleep(300)
"""


async def answer_to(screen: EventScreen, pilot: Any, *keys: str) -> str:
    """Press keys, and return the text of the answer that opens once somebody has answered."""
    await pilot.press(*keys)
    until = time.monotonic() + 20
    while not isinstance(screen.screen, Answer):
        assert time.monotonic() < until
        await pilot.pause(0.05)
    text = str(screen.screen._text)
    await pilot.press("escape")
    await pilot.pause()
    return text


def test_keys_reach_the_workers(make_project: Any, sqlite_url: str) -> None:
    project: Project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    proj, state = project.proj, State()

    def told(clock: int, name: str, uuid: str) -> None:
        common = {"hostname": "w@h", "clock": clock, "timestamp": time.time(), "pid": 1}
        event = {"type": "task-received", "uuid": uuid, "name": name, "args": "()"}
        state.event({**common, **event, "kwargs": "{}", "local_received": time.time()})

    async def drive(done: Any, running: Any) -> None:
        screen = EventScreen(proj.app, state)
        async with screen.run_test(size=(100, 30)) as pilot:
            assert screen.selected_id == running.id
            for size in ((200, 60), (40, 12), (20, 5), (1, 1), (100, 30)):
                await pilot.resize_terminal(*size)
                assert screen.query_one("#tasks").row_count == 2
                assert screen.selected_id == running.id
            answer = await answer_to(screen, pilot, "l", "5", "slash", "m", "enter")
            assert answer == "w@h: new rate limit set successfully"
            assert await answer_to(screen, pilot, "e") == "w@h: task events enabled"
            assert "terminate: " in await answer_to(screen, pilot, "k")
            await pilot.press("down")
            assert screen.selected_id == done.id
            assert await answer_to(screen, pilot, "r") == "SUCCESS: 3"
            assert "flagged as revoked" in await answer_to(screen, pilot, "c")
            await pilot.press("q")

    with project.worker("-c", "2", "-n", "w@h"):
        done, running = proj.add.delay(1, 2), proj.wait.delay()
        assert done.get(timeout=20) == 3
        wait_until((project.directory / "started").exists)
        told(1, "proj.add", done.id)
        told(2, "proj.wait", running.id)
        asyncio.run(drive(done, running))
        wait_until(lambda: running.state == "REVOKED")
