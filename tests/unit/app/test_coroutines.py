"""Coroutine tasks without a worker: called directly, eagerly, and inside a running loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import TaskQ, chain, group
from taskq.utils.coroutines import close_loop, run_coroutine


@pytest.fixture
def app() -> TaskQ:
    app = TaskQ("coroutines", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_always_eager=True)
    return app


@pytest.fixture
def double(app: TaskQ) -> Any:
    @app.task(name="double", bind=True)
    async def double(self: Any, x: int) -> int:
        await asyncio.sleep(0)
        assert self.request.args[0] == x
        return x * 2

    return double


def test_a_direct_call_is_awaited(double: Any) -> None:
    assert asyncio.run(double(4)) == 8


def test_concurrent_direct_calls_have_requests_of_their_own(double: Any) -> None:
    async def both() -> list[int]:
        return await asyncio.gather(*(double(n) for n in range(5)))

    assert asyncio.run(both()) == [0, 2, 4, 6, 8]


def test_eagerly(double: Any) -> None:
    assert double.delay(4).get() == 8
    assert chain(double.s(1), double.s())().get() == 4
    assert group(double.s(n) for n in range(3))().get() == [0, 2, 4]


def test_eagerly_inside_a_running_loop(double: Any) -> None:
    async def client() -> Any:
        return double.apply((21,)).get()

    assert asyncio.run(client()) == 42


def test_eagerly_without_blocking_the_loop(double: Any) -> None:
    async def client() -> Any:
        return await (await double.aapply((21,)))

    assert asyncio.run(client()) == 42


def test_eager_retries(app: TaskQ) -> None:
    @app.task(name="flaky", bind=True, autoretry_for=(KeyError,), max_retries=2)
    async def flaky(self: Any) -> int:
        if self.request.retries < 2:
            raise KeyError
        return int(self.request.retries)

    assert flaky.apply().get() == 2


def test_models_as_arguments(app: TaskQ) -> None:
    pydantic = pytest.importorskip("pydantic")
    Point = pydantic.create_model("Point", x=(int, ...))  # noqa: N806 - a class

    async def mirrored(point: Any) -> Any:
        return Point(x=-point.x)

    mirrored.__annotations__ = {"point": Point, "return": Point}
    task = app.task(name="mirrored", pydantic=True)(mirrored)
    assert task.apply(({"x": 3},)).get() == {"x": -3}


def test_a_task_that_yields_is_refused(app: TaskQ) -> None:
    async def numbers() -> Any:
        yield 1

    with pytest.raises(TypeError, match="yields"):
        app.task(numbers)


def test_one_loop_for_all_coroutines_of_a_thread() -> None:
    async def loop() -> Any:
        return asyncio.get_running_loop()

    first = run_coroutine(loop())
    assert run_coroutine(loop()) is first
    close_loop()
    assert first.is_closed()
    assert run_coroutine(loop()) is not first
    close_loop()


def test_async_generators_are_closed_with_the_loop() -> None:
    closed = []

    async def numbers() -> Any:
        try:
            yield 1
        finally:
            closed.append(True)

    made = numbers()

    async def first() -> Any:
        return await anext(made)

    assert run_coroutine(first()) == 1
    close_loop()
    assert closed == [True]
