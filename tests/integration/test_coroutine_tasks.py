"""Coroutine tasks in real workers: what holds for every task holds for them, in every pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from taskq import chain, chord, group
from taskq.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from tests.integration.project import Project, Worker, wait_until

CODE = """
import asyncio, functools, threading
from taskq import Task, current_task, signals
from taskq.exceptions import Ignore, Reject, SoftTimeLimitExceeded


@app.task(name="add")
def add(x, y):
    return x + y


@app.task(name="aadd")
async def aadd(x, y):
    await asyncio.sleep(0.001)
    return x + y


@app.task(name="collect")
async def collect(parts):
    await asyncio.sleep(0)
    return parts


@app.task(name="where", bind=True)
async def where(self, seconds=0.0):
    before = self.request.id, current_task.name
    await asyncio.sleep(seconds)
    assert before == (self.request.id, current_task.name)
    return [self.request.id, os.getpid(), threading.get_ident(), id(asyncio.get_running_loop())]


@app.task(name="flaky", bind=True, max_retries=3)
async def flaky(self):
    await asyncio.sleep(0)
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


@app.task(name="auto", bind=True, autoretry_for=(KeyError,), retry_backoff=False,
          retry_kwargs={"countdown": 0})
async def auto(self):
    await asyncio.sleep(0)
    if self.request.retries < 1:
        raise KeyError("once")
    return self.request.retries


@app.task(name="broken")
async def broken():
    await asyncio.sleep(0)
    raise ValueError("broken")


@app.task(name="suicidal")
async def suicidal():
    asyncio.current_task().cancel()
    await asyncio.sleep(10)


@app.task(name="ignored")
async def ignored():
    await asyncio.sleep(0)
    raise Ignore()


@app.task(name="rejected", acks_late=True)
async def rejected():
    raise Reject("no", requeue=False)


@app.task(name="progress", bind=True)
async def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    await asyncio.sleep(1)
    return "done"


@app.task(name="soft", soft_time_limit=0.3)
async def soft():
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "caught"


@app.task(name="uncaught", soft_time_limit=0.3)
async def uncaught():
    await asyncio.sleep(30)


@app.task(name="hard", time_limit=0.3)
async def hard():
    await asyncio.sleep(30)


@app.task(name="late_hard", time_limit=0.3, acks_late=True)
async def late_hard():
    await asyncio.sleep(30)


@app.task(name="long")
async def long(path):
    try:
        print("LONG BEGUN")
        await asyncio.sleep(60)
    finally:
        with open(path, "a") as out:
            out.write("cleaned")


@app.task(name="chatty", bind=True)
async def chatty(self, path):
    store = self.backend.store_result

    def late(task_id, meta, state, **kwargs):
        if state != "CHATTY":
            return store(task_id, meta, state, **kwargs)
        open(f"{path}/storing", "w").close()
        while not os.path.exists(f"{path}/go"):
            time.sleep(0.01)
        store(task_id, meta, state, **kwargs)
        open(f"{path}/stored", "w").close()

    self.backend.store_result = late
    await self.aupdate_state("CHATTY")


@app.task(name="stubborn")
async def stubborn(path, end):
    open(path, "w").close()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        if end == "fail":
            raise ValueError("in the cleanup")
        return "all the same"


class Noting(Task):
    async def before_start(self, task_id, args, kwargs):
        await asyncio.sleep(0)
        print(f"NOTED before_start {task_id}")

    async def on_success(self, retval, task_id, args, kwargs):
        await asyncio.sleep(0)
        print(f"NOTED on_success {task_id}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        print(f"NOTED after_return {status} {task_id}")

    async def on_failure(self, exc, task_id, args, kwargs, einfo):
        await asyncio.sleep(0)
        print(f"NOTED on_failure {task_id}")


@app.task(name="noting", base=Noting)
async def noting(fail):
    await asyncio.sleep(0)
    if fail:
        raise ValueError("noting")
    return 1


@signals.task_postrun.connect
async def postrun(sender=None, task_id=None, state=None, **kwargs):
    await asyncio.sleep(0)
    print(f"NOTED async postrun {state} {task_id}")


def unaware(fun):
    @functools.wraps(fun)
    def call(*args, **kwargs):
        return fun(*args, **kwargs)

    return call


@app.task(name="wrapped", bind=True, autoretry_for=(KeyError,), retry_kwargs={"countdown": 0},
          soft_time_limit=0.5)
@unaware
async def wrapped(self):
    await asyncio.sleep(0)
    if self.request.retries < 1:
        raise KeyError("once")
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded:
        return [self.request.retries, current_task.name]


class Around(Task):
    def __call__(self, *args, **kwargs):
        print(f"AROUND {self.request.id}")
        return super().__call__(*args, **kwargs)


@app.task(name="around", base=Around)
async def around(x):
    await asyncio.sleep(0)
    return await aadd(x, 1)
"""


@dataclass
class Setting:
    """A pool, the project, and its worker."""

    pool: str
    project: Project
    worker: Worker

    @property
    def proj(self) -> Any:
        return self.project.proj


@pytest.fixture(scope="module", params=["prefork", "threads", "solo", "asyncio"])
def at(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Setting]:
    """A worker of each pool in turn, for all tests of the module."""
    directory = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{directory}/q.db"
    project = Project(directory, CODE, broker=url, backend=url)
    project.proj.app.finalize()
    with project.worker("-P", request.param, "-c", "2") as worker:
        yield Setting(request.param, project, worker)
    project.close()


def test_a_coroutine_returns_its_result(at: Setting) -> None:
    assert at.proj.aadd.delay(2, 3).get(timeout=20) == 5


def test_the_loop_lives_on_between_tasks(at: Setting) -> None:
    places = {tuple(at.proj.where.delay().get(timeout=20)[1:]) for _ in range(6)}
    if at.pool == "asyncio":
        assert len(places) == 1
    else:
        assert len(places) == len({place[:2] for place in places})


def test_interleaved_tasks_see_their_own_request(at: Setting) -> None:
    results = [at.proj.where.delay(0.02) for _ in range(8)]
    assert [result.get(timeout=20)[0] for result in results] == [r.id for r in results]


def test_retries(at: Setting) -> None:
    assert at.proj.flaky.delay().get(timeout=20) == 2
    assert at.proj.auto.delay().get(timeout=20) == 1


def test_failures_are_stored_with_their_traceback(at: Setting) -> None:
    result = at.proj.broken.delay()
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=20)
    assert 'raise ValueError("broken")' in result.traceback


def test_a_coroutine_that_cancels_itself_fails(at: Setting) -> None:
    result = at.proj.suicidal.delay()
    result.get(timeout=20, propagate=False)
    assert result.state == "FAILURE"
    assert type(result.result).__name__ == "TaskCancelledError"


def test_ignore_and_reject(at: Setting) -> None:
    ignored = at.proj.ignored.delay()
    at.worker.wait_for_log(f"Task ignored[{ignored.id}] ignored")
    rejected = at.proj.rejected.delay()
    rejected.get(timeout=20, propagate=False)
    assert rejected.state == "FAILURE"
    assert ignored.state == "PENDING"


def test_progress_is_seen(at: Setting) -> None:
    result = at.proj.progress.delay()
    wait_until(lambda: result.state in {"PROGRESS", "SUCCESS"})
    assert result.get(timeout=20) == "done"


def test_soft_limit_appears_at_the_await(at: Setting) -> None:
    assert at.proj.soft.delay().get(timeout=20) == "caught"
    with pytest.raises(SoftTimeLimitExceeded):
        at.proj.uncaught.delay().get(timeout=20)


@pytest.mark.parametrize("name", ["hard", "late_hard"])
def test_hard_limit_ends_it(at: Setting, name: str) -> None:
    with pytest.raises(TimeLimitExceeded):
        getattr(at.proj, name).delay().get(timeout=20)
    assert at.proj.aadd.delay(1, 1).get(timeout=20) == 2


# In solo nobody listens meanwhile.
@pytest.mark.parametrize("at", ["prefork", "threads", "asyncio"], indirect=True)
def test_revoke_with_terminate_cancels(at: Setting, tmp_path: Any) -> None:
    out = tmp_path / "out"
    result = at.proj.long.delay(str(out))
    at.worker.wait_for_log("LONG BEGUN")
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)
    wait_until(out.exists)
    wait_until(lambda: out.read_text() == "cleaned")
    assert at.proj.aadd.delay(1, 1).get(timeout=20) == 2


@pytest.mark.parametrize("at", ["prefork", "threads", "asyncio"], indirect=True)
def test_what_a_cancelled_task_was_storing_is_stored_before_its_end(
    at: Setting, tmp_path: Any
) -> None:
    def state() -> str:
        return str(at.proj.app.backend.get_task_meta(result.id, cache=False)["status"])

    result = at.proj.chatty.delay(str(tmp_path))
    wait_until((tmp_path / "storing").exists)
    result.revoke(terminate=True)
    wait_until(lambda: state() == "REVOKED")
    (tmp_path / "go").touch()
    wait_until((tmp_path / "stored").exists)
    wait_until(lambda: state() == "REVOKED")


@pytest.mark.parametrize("at", ["prefork", "threads", "asyncio"], indirect=True)
@pytest.mark.parametrize("end", ["return", "fail"])
def test_revoked_is_revoked_whatever_a_cancelled_task_does(
    at: Setting, tmp_path: Any, end: str
) -> None:
    path = tmp_path / "begun"
    result = at.proj.stubborn.delay(str(path), end)
    wait_until(path.exists)
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=20)
    assert at.proj.aadd.delay(1, 1).get(timeout=20) == 2
    time.sleep(0.3)
    assert at.proj.app.backend.get_task_meta(result.id, cache=False)["status"] == "REVOKED"


def test_handlers_and_receivers_of_both_kinds(at: Setting) -> None:
    fine = at.proj.noting.delay(False)
    assert fine.get(timeout=20) == 1
    for note in ("before_start", "on_success", "after_return SUCCESS", "async postrun SUCCESS"):
        at.worker.wait_for_log(f"NOTED {note} {fine.id}")
    failed = at.proj.noting.delay(True)
    failed.get(timeout=20, propagate=False)
    for note in ("on_failure", "after_return FAILURE"):
        at.worker.wait_for_log(f"NOTED {note} {failed.id}")


def test_a_call_method_of_its_own(at: Setting) -> None:
    result = at.proj.around.delay(4)
    assert result.get(timeout=20) == 5
    at.worker.wait_for_log(f"AROUND {result.id}")


def test_behind_a_decorator_that_knows_no_coroutines(at: Setting) -> None:
    assert at.proj.wrapped.delay().get(timeout=20) == [1, "wrapped"]


def test_workflows_of_both_kinds(at: Setting) -> None:
    proj = at.proj
    assert chain(proj.add.s(1, 2), proj.aadd.s(3), proj.add.s(4))().get(timeout=20) == 10
    mixed = group(task.s(n, n) for n in range(3) for task in (proj.add, proj.aadd))
    assert mixed().get(timeout=20) == [0, 0, 2, 2, 4, 4]
    assert chord(mixed, proj.collect.s())().get(timeout=20) == [0, 0, 2, 2, 4, 4]
    assert proj.aadd.starmap([(1, 2), (3, 4)]).delay().get(timeout=20) == [3, 7]
