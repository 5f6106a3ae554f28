"""What a type checker knows of tasks; read by test_typing.py, never run.

A line that must be an error has the comment `# error`, others must not be one.
"""

from __future__ import annotations

from typing import assert_type

from taskq import Celery, Task, TaskQ
from taskq.result import AsyncResult, EagerResult

app = TaskQ("typed")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(bind=True, max_retries=3)
def bound(self: Task[[str], str], name: str) -> str:
    assert_type(self.request.retries, int)
    return name.upper()


@app.task(name="named", ignore_result=True)
def named() -> None:
    return None


add.delay(1, 2)
add.delay(1, y=2)
add.delay("x")  # error
add.delay(1, z=3)  # error
add.delay()  # error
bound.delay("a")
bound.delay(1)  # error
named.delay()
named.delay(1)  # error

assert_type(add.delay(1), AsyncResult[int])
assert_type(add.delay(1).get(), int)
assert_type(bound.delay("a").get(timeout=1), str)
assert_type(add.apply_async((1,)), AsyncResult[int])
assert_type(add.apply((1,)), EagerResult[int])
assert_type(add(1, 2), int)
add("x")  # error
Celery("same").task(add)  # the old name is the same class


@app.task
async def fetch(url: str, retries: int = 3) -> bytes:
    return url.encode() * retries


@app.task(bind=True)
async def bound_fetch(self: Task[[str], bytes], url: str) -> bytes:
    return url.encode()


@app.task(name="named-fetch")
async def named_fetch(url: str) -> bytes:
    return url.encode()


fetch.delay("http://x", retries=1)
fetch.delay(1)  # error
assert_type(fetch.delay("http://x"), AsyncResult[bytes])
assert_type(bound_fetch.delay("http://x").get(), bytes)


async def client() -> None:
    assert_type(await fetch("http://x"), bytes)
    assert_type(await fetch.adelay("http://x"), AsyncResult[bytes])
    assert_type(await (await fetch.adelay("http://x", retries=2)), bytes)
    assert_type(await (await add.adelay(1, y=2)), int)
    assert_type(await (await bound_fetch.adelay("http://x")).aget(timeout=3), bytes)
    assert_type(await (await named_fetch.aapply_async(("http://x",))), bytes)
    await fetch.adelay(1)  # error
    await add.adelay()  # error
    await fetch(1)  # error
    await bound_fetch.adelay()  # error
    await named_fetch.adelay(2)  # error
