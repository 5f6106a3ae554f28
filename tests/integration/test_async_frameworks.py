"""The awaitable client where others run the loop: Django's views, notebooks, anyio, trio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio

from taskq import TaskQ, group
from tests.integration.project import Project
from tests.integration.redis_support import Server

CODE = """
import asyncio


@app.task(name="add")
def add(x, y):
    return x + y


@app.task(name="aadd")
async def aadd(x, y):
    await asyncio.sleep(0.001)
    return x + y
"""


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project and its worker."""
    directory = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{directory}/q.db"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server")
    project = Project(directory, CODE, broker=url, backend=url)
    project.proj.app.finalize()
    with project.worker("-P", "threads", "-c", "2"):
        yield project
    project.close()


@pytest.fixture
def app() -> Iterator[TaskQ]:
    with TaskQ("trio", broker="memory://", backend="cache+memory://", set_as_current=False) as app:
        yield app


@pytest.mark.parametrize(
    "use",
    [
        lambda app: app.tasks["celery.accumulate"].adelay(1),
        lambda app: app.tasks["celery.accumulate"].aapply_async((1,)),
        lambda app: app.tasks["celery.accumulate"].aapply((1,)),
        lambda app: app.signature("t").aapply_async(),
        lambda app: group(app.signature("t"), app=app).aapply_async(),
        lambda app: app.AsyncResult("x").aget(),
        lambda app: app.AsyncResult("x").aready(),
        lambda app: app.AsyncResult("x").arevoke(),
        lambda app: app.GroupResult("g", [app.AsyncResult("x")]).ajoin(),
        lambda app: app.__aenter__(),
    ],
)
def test_trio_is_refused_with_the_remedy(app: TaskQ, use: Any) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="asyncio backend, or run the blocking call in a"):
            await use(app)

    trio.run(main)


def test_anyio_on_asyncio(project: Project) -> None:
    values: list[int] = []

    async def one(n: int) -> None:
        with anyio.fail_after(20):
            values.append(await (await project.proj.add.adelay(n, 1)))

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(one, n)
        with anyio.move_on_after(0.05) as scope:
            await project.proj.app.AsyncResult("nobody").aget()
        assert scope.cancelled_caught

    anyio.run(main, backend="asyncio")
    assert sorted(values) == [1, 2, 3, 4, 5]


def test_a_loop_that_runs_now_and_then(project: Project) -> None:
    """As IPython's does, for a cell at a time."""
    proj = project.proj
    loop = asyncio.new_event_loop()
    try:
        results = [loop.run_until_complete(proj.add.adelay(n, n)) for n in range(4)]
        assert [loop.run_until_complete(each.aget(timeout=20)) for each in results] == [0, 2, 4, 6]
        assert proj.add.delay(1, 1).get(timeout=20) == 2
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_connections_that_ended_while_the_loop_did_not_run(server: Server) -> None:
    with TaskQ("cells", broker=server.url, backend=server.url, set_as_current=False) as app:
        sig = app.signature("t")
        with asyncio.Runner() as runner:
            for _ in range(10):
                runner.run(sig.aapply_async(retry=False))
            app.backend.store_result("r", 1, "SUCCESS")
            assert runner.run(app.AsyncResult("r").aget(timeout=20)) == 1
            with server.client() as client:
                client.client_kill_filter(skipme=True)
            runner.run(asyncio.sleep(1.1))  # as long as it takes until a look is worth it
            with server.client() as client:
                client.client_kill_filter(skipme=True)
            runner.run(sig.aapply_async(retry=False))
            app.backend.store_result("s", 2, "SUCCESS")
            assert runner.run(app.AsyncResult("s").aget(timeout=20)) == 2


def test_eager_coroutines_in_a_running_loop(project: Project) -> None:
    app, aadd = project.proj.app, project.proj.aadd

    async def main() -> list[Any]:
        applied = (await aadd.aapply((1, 1))).get()
        app.conf.task_always_eager = True
        try:
            awaited = await aadd.adelay(2, 2)
            return [applied, await awaited, aadd.delay(3, 3).get(), await aadd(4, 4)]
        finally:
            app.conf.task_always_eager = False

    assert asyncio.run(main()) == [2, 4, 6, 8]


DJANGO = """
import asyncio, os, threading
from django.conf import settings

settings.configure(
    SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=[], USE_TZ=True,
)
import django
django.setup()
from django.http import JsonResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from taskq import chain, group
import proj


async def call(request, x):
    result = await proj.add.adelay(x, 1)
    return JsonResponse({"value": await result.aget(timeout=20), "state": await result.astate()})


async def several(request):
    results = await group(proj.aadd.s(n, n) for n in range(3)).aapply_async()
    chained = await chain(proj.add.s(1, 1), proj.aadd.s(2)).aapply_async()
    return JsonResponse({"group": await results, "chain": await chained})


async def stream(request):
    results = await group(proj.add.s(n, 0) for n in range(3)).aapply_async()

    async def lines():
        async for result in results:
            yield f"{result.result} "

    return StreamingHttpResponse(lines())


urlpatterns = [path("call/<int:x>", call), path("several", several), path("stream", stream)]


async def asgi():
    client = AsyncClient()
    for x in range(4):
        answer = await client.get(f"/call/{x}")
        assert answer.json() == {"value": x + 1, "state": "SUCCESS"}, answer.content
    answers = await asyncio.gather(*(client.get(f"/call/{x}") for x in range(20)))
    assert [each.json()["value"] for each in answers] == list(range(1, 21))
    assert (await client.get("/several")).json() == {"group": [0, 2, 4], "chain": 4}
    streamed = await client.get("/stream")
    assert sorted((b"".join([part async for part in streamed])).split()) == [b"0", b"1", b"2"]

asyncio.run(asgi())
# Under WSGI each request has a loop of its own.
for x in range(5):
    assert Client().get(f"/call/{x}").json() == {"value": x + 1, "state": "SUCCESS"}
print("SERVED")
"""


def test_django_async_views(project: Project, tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(DJANGO)
    served = subprocess.run(
        [sys.executable, str(script)],
        env=project.env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "SERVED" in served.stdout, served.stderr
    assert "Error" not in served.stderr
