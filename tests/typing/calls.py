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
