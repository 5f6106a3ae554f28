"""A chord whose header task was acknowledged early and dies with its worker: it fails, in time."""

from __future__ import annotations

import os
import signal

import pytest

from taskq import chord, group
from taskq.exceptions import ChordError
from tests.integration.project import left_in_broker, wait_until

LEASE = 2.0

CODE = """
def note(what):
    ledger = os.open("ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(ledger, f"{what}\\n".encode())
    os.close(ledger)

@app.task
def part(number, seconds=0.0, big=""):
    note(f"part {number}")
    time.sleep(seconds)
    return number

@app.task
async def coroutine(number):
    return number

@app.task(bind=True, max_retries=2)
def again(self, number):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return number

@app.task
def fail(number):
    raise ValueError(number)

@app.task(acks_late=True)
def body(numbers):
    note("body")
    return sum(numbers)
"""


@pytest.fixture(params=["redis", "sqlite"])
def project(request, make_project):
    url = request.getfixturevalue(f"{request.param}_url")
    return make_project(
        CODE, broker=url, backend=url, conf={"broker_transport_options": {"lease": LEASE}}
    )


def notes(project) -> list[str]:
    path = project.directory / "ledger"
    return path.read_text().splitlines() if path.exists() else []


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def test_the_chord_fails_and_the_task_is_not_begun_again(project):
    proj = project.proj
    worker = project.start_worker("-c", "1")
    # A large body, which the worker hands on as it is.
    result = chord([proj.part.s(1, 60, big="x" * 20_000)], proj.body.s()).apply_async()
    wait_until(lambda: notes(project) == ["part 1"])
    kill(worker.pid, *worker.children())
    with project.worker("-c", "1") as other:
        wait_until(result.ready, 30)
        assert isinstance(result.result, ChordError)
        assert "WorkerLostError" in str(result.result)
        lost = result.parent.results[0]
        assert lost.state == "FAILURE"
        assert type(lost.result).__name__ == "WorkerLostError"
        # In the log it has the name of what was lost.
        assert f"Task proj.part[{lost.id}] received" in other.log
        wait_until(lambda: not left_in_broker(project), 20)
    assert notes(project) == ["part 1"]


def test_a_child_that_finishes_without_its_main_process_is_counted(project):
    proj = project.proj
    worker = project.start_worker("-c", "1")
    result = chord([proj.part.s(1, 0.5)], proj.body.s()).apply_async()
    wait_until(lambda: notes(project) == ["part 1"])
    os.kill(worker.pid, signal.SIGSTOP)  # it takes no notice of the end
    wait_until(lambda: result.parent.results[0].state == "SUCCESS")
    kill(worker.pid)
    with project.worker("-c", "1"):
        assert result.get(timeout=30) == 1
        wait_until(lambda: not left_in_broker(project), 20)
    assert notes(project) == ["part 1", "body"]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "asyncio"])
def test_nothing_is_left_of_chords_that_end(project, pool):
    proj = project.proj
    part = proj.coroutine if pool == "asyncio" else proj.part
    with project.worker("-P", pool, "-c", "2"):
        results = [chord([part.s(n) for n in range(20)], proj.body.s()).apply_async()]
        results += [chord([proj.again.s(n) for n in range(3)], proj.body.s()).apply_async()]
        failing = chord([part.s(1), proj.fail.s(2)], proj.body.s()).apply_async()
        plain = group(part.s(n) for n in range(5)).apply_async()
        assert [result.get(timeout=30) for result in results] == [190, 3]
        assert plain.get(timeout=30) == list(range(5))
        wait_until(failing.ready)
        assert isinstance(failing.result, ChordError)
        wait_until(lambda: not left_in_broker(project), 20)
