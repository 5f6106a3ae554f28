"""The awaitable client against real workers: sending, waiting and revoking without blocking."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.exceptions import TaskRevokedError, TimeoutError
from tests.integration.conftest import Urls
from tests.integration.project import Project, Worker, wait_until

CODE = """
import asyncio


@app.task(name="add")
def add(x, y):
    return x + y


@app.task(name="nap")
async def nap(seconds, value=None):
    await asyncio.sleep(seconds)
    return value


@app.task(name="broken")
async def broken():
    raise ValueError("broken")


@app.task(name="asking", bind=True)
async def asking(self, x):
    await self.aupdate_state("ASKING", {"x": x})
    result = await add.adelay(x, 1)
    return await result.aget(timeout=20)


@app.task(name="sending", bind=True)
async def sending(self):
    from taskq import chain, group

    # By then the loop publishes, where it can.
    for _ in range(10):
        await add.aapply_async((0, 0), add_to_parent=False)
    chained = await chain(add.s(1, 1), add.s(2)).aapply_async()
    several = await group(add.s(1, 1), add.s(2, 2)).aapply_async()
    single = await add.s(1, 1).aapply_async()
    return [chained.parent.id, several.id, single.id]
"""


@pytest.fixture(scope="module", params=["sqlite", "redis", "amqp"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Worker, Urls]]:
    """A project on each broker, and its worker."""
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        url = f"sqlite:///{directory}/q.db"
    else:
        url = request.getfixturevalue("redis_server" if request.param == "redis" else "amqp_url")
    urls = Urls(request.param, url, "rpc://" if request.param == "amqp" else url)
    project = Project(directory, CODE, broker=urls.broker, backend=urls.backend)
    project.proj.app.finalize()
    with project.worker("-P", "asyncio", "-c", "20000") as worker:
        yield project.proj, worker, urls
    project.close()


@pytest.fixture
def proj(served: tuple[Any, Worker, Urls]) -> Any:
    return served[0]


def test_send_and_await(proj: Any) -> None:
    async def client() -> list[Any]:
        result = await proj.add.adelay(1, 2)
        other = await proj.nap.aapply_async((0,), {"value": "v"}, countdown=0)
        third = await proj.add.s(1).aapply_async((4,))
        return [await result, await other.aget(timeout=20), await third, await result]

    assert asyncio.run(client()) == [3, "v", 5, 3]


def test_errors_and_timeouts_are_raised(proj: Any) -> None:
    async def client() -> None:
        with pytest.raises(ValueError, match="broken"):
            await (await proj.broken.adelay())
        failed = await (await proj.broken.adelay()).aget(timeout=20, propagate=False)
        assert isinstance(failed, ValueError)
        slow = await proj.nap.adelay(30)
        with pytest.raises(TimeoutError):
            await slow.aget(timeout=0.05)
        await slow.arevoke(terminate=True)
        with pytest.raises(TaskRevokedError):
            await slow.aget(timeout=20)

    asyncio.run(client())


def test_many_coroutines_wait_at_the_same_time(proj: Any) -> None:
    async def one(n: int) -> Any:
        return await (await proj.nap.adelay(0.01, n))

    async def client() -> tuple[list[Any], int]:
        values = await asyncio.gather(*(one(n) for n in range(300)))
        return values, threading.active_count()

    before = threading.active_count()
    values, threads = asyncio.run(client())
    assert values == list(range(300))
    assert threads <= before + 4


def test_one_result_awaited_by_many(proj: Any) -> None:
    async def client() -> list[Any]:
        result = await proj.nap.adelay(0.2, "shared")
        return await asyncio.gather(*(result.aget(timeout=20) for _ in range(20)))

    assert asyncio.run(client()) == ["shared"] * 20


def test_groups_finish_one_by_one(proj: Any) -> None:
    async def client() -> tuple[list[Any], list[Any]]:
        slow_first = group(proj.nap.s(0.6, "slow"), proj.nap.s(0.0, "quick"))
        result = await slow_first.aapply_async()
        seen = [each.get() async for each in result]
        return seen, await result

    seen, values = asyncio.run(client())
    assert seen == ["quick", "slow"]
    assert values == ["slow", "quick"]


def test_workflows(proj: Any) -> None:
    async def client() -> list[Any]:
        chained = await chain(proj.add.s(1, 1), proj.add.s(2)).aapply_async()
        if proj.app.conf.result_backend.startswith("rpc"):
            return [await chained, "body"]  # which counts no chords
        header = [proj.nap.s(0, n) for n in range(3)]
        return [await chained, await (await chord(header, proj.nap.si(0, "body")).adelay())]

    assert asyncio.run(client()) == [4, "body"]


def test_a_task_awaits_another_on_the_same_loop(proj: Any) -> None:
    async def client() -> Any:
        return await (await proj.asking.adelay(41)).aget(timeout=30)

    assert asyncio.run(client()) == 42


def test_what_a_task_sends_are_its_children(proj: Any) -> None:
    async def client() -> tuple[Any, list[str]]:
        result = await proj.sending.adelay()
        sent = await result.aget(timeout=30)
        return sent, [each.id for each in result.children]

    sent, children = asyncio.run(client())
    assert children == sent


def test_cancelled_waiting_leaves_nothing_behind(proj: Any) -> None:
    async def client() -> None:
        result = await proj.nap.adelay(0.5, "late")
        waiting = asyncio.ensure_future(result.aget())
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await result.aget(timeout=20) == "late"

    asyncio.run(client())
    gc.collect()
    assert not proj.app.backend.waiter._watches


def test_a_loop_for_each_request_leaves_no_threads_behind(proj: Any) -> None:
    async def request() -> Any:
        return await (await proj.add.adelay(1, 1))

    def closed() -> bool:
        gc.collect()
        return threading.active_count() <= before

    asyncio.run(request())
    wait_until(lambda: not _client_threads())
    before = threading.active_count()
    for _ in range(10):
        assert asyncio.run(request()) == 2
    wait_until(closed)


def _client_threads() -> list[str]:
    gc.collect()
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name in {"taskq-client", "taskq-results"}]


def test_the_app_as_context_manager(proj: Any) -> None:
    async def client() -> Any:
        async with proj.app as app:
            return await (await app.tasks["add"].adelay(2, 2))

    assert asyncio.run(client()) == 4


def test_outside_asyncio_it_says_what_is_needed(proj: Any) -> None:
    for coroutine in (proj.add.adelay(1, 2), proj.app.AsyncResult("x").aget()):
        with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
            coroutine.send(None)
