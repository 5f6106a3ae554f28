"""Exceptions thrown into coroutines, and their time limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from taskq.utils.interruptible import HardLimitHit, Interruptible, run_limited


def test_what_is_thrown_appears_at_the_await() -> None:
    async def body() -> str:
        try:
            await asyncio.sleep(60)
        except KeyError:
            await asyncio.sleep(0)
            return "caught"
        return "missed"

    async def main() -> Any:
        interruptible = Interruptible(body())
        task = asyncio.ensure_future(interruptible.run())
        await asyncio.sleep(0)
        interruptible.throw(KeyError())
        value = await task
        assert task.cancelling() == 0
        return value

    assert asyncio.run(main()) == "caught"


def test_what_is_thrown_before_the_first_step_is_not_lost() -> None:
    async def body() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        interruptible = Interruptible(body())
        interruptible.throw(KeyError())
        with pytest.raises(KeyError):
            await asyncio.ensure_future(interruptible.run())

    asyncio.run(main())


def test_a_plain_cancellation_stays_one() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(Interruptible(asyncio.sleep(60)).run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_soft_limit_is_told_and_may_be_caught() -> None:
    told: list[float] = []

    async def body() -> str:
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            return "caught"
        return "missed"

    assert asyncio.run(run_limited(body(), 0.01, 60, told.append)) == "caught"
    assert told == [0.01]


def test_hard_limit_cancels() -> None:
    ended: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("cleaned")

    with pytest.raises(HardLimitHit):
        asyncio.run(run_limited(body(), None, 0.01))
    assert ended == ["cleaned"]


def test_what_does_not_end_is_abandoned(caplog: pytest.LogCaptureFixture) -> None:
    async def body(release: asyncio.Event) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        release = asyncio.Event()
        try:
            with pytest.raises(HardLimitHit):
                await run_limited(body(release), None, 0.01, grace=0.01)
        finally:
            release.set()
            await asyncio.sleep(0)

    asyncio.run(main())
    assert "abandoned" in caplog.text
