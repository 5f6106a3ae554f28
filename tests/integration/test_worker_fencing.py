"""A worker that was stopped for longer than its lease does not run what was given to others."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.integration.project import wait_until

LONG = os.environ.get("TASKQ_CHAOS") == "long"

CODE = """
def note(name, seconds=0.0):
    with open("notes", "a") as notes:
        notes.write(name + "\\n")
    time.sleep(seconds)

late = app.task(acks_late=True, name="late")(note)
early = app.task(name="early")(note)
"""


@pytest.mark.parametrize("acks", ["late", "early"])
@pytest.mark.parametrize("urls", ["redis", "sqlite"], indirect=True)
def test_held_messages_that_others_got_are_dropped(make_project, urls, acks):
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={"broker_transport_options": {"lease": 2}},
    )
    note = getattr(project.proj, acks)
    path = project.directory / "notes"
    with project.worker("-c", "1", "-n", "first@%h") as first:
        note.delay("long", 2.5)
        wait_until(path.exists)
        results = [note.delay(str(number)) for number in range(3)]
        first.wait_for_log(f"{results[-1].id}] received")
        everyone = [first.pid, *first.children()]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        try:
            with project.worker("-c", "1", "-n", "second@%h"):
                wait_until(lambda: path.read_text().split().count("2") == 1, 30)
                for pid in everyone:
                    os.kill(pid, signal.SIGCONT)
                for result in results:
                    result.get(timeout=20)
                # Time enough for the first to begin what it still holds.
                wait_until(lambda: note.delay("more").get(timeout=20) is None)
        finally:
            for pid in everyone:
                os.kill(pid, signal.SIGCONT)
    ran = path.read_text().split()
    assert [ran.count(str(number)) for number in range(3)] == [1, 1, 1]


LATE_RESULT = """
import asyncio

def started():
    with open("starts", "a") as starts:
        starts.write(f"{os.getpid()}\\n")
    return f"go-{os.getpid()}"

@app.task(acks_late=True)
def who():
    go = started()
    while not os.path.exists(go):
        time.sleep(0.02)
    return os.getpid()

@app.task(acks_late=True)
async def who_coroutine():
    go = started()
    while not os.path.exists(go):
        await asyncio.sleep(0.02)
    return os.getpid()
"""


@pytest.mark.parametrize(
    ("urls", "pool"),
    [
        ("redis", "prefork"),
        ("sqlite", "threads"),
        ("sqlite", "asyncio"),
        ("redis", "forkserver"),
        *([("sqlite", "spawn"), ("redis", "asyncio"), ("redis", "threads")] if LONG else []),
    ],
    indirect=["urls"],
)
def test_the_result_of_what_was_given_away_is_refused(make_project, urls, pool):
    """The stopped worker goes on and ends its task before the one that got it next does."""
    start_method = pool if pool in {"spawn", "forkserver"} else None
    project = make_project(
        LATE_RESULT,
        broker=urls.broker,
        backend=urls.backend,
        conf={
            "broker_transport_options": {"lease": 2},
            "worker_pool_start_method": start_method,
        },
    )
    starts = project.directory / "starts"
    options = ("-c", "1", "-P", "prefork" if start_method else pool)
    task = project.proj.who_coroutine if pool == "asyncio" else project.proj.who

    def pids():
        return [int(line) for line in starts.read_text().split()] if starts.exists() else []

    with project.worker(*options, "-n", "first@%h") as first:
        result = task.delay()
        wait_until(pids)
        everyone = [first.pid, *first.children()]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        try:
            with project.worker(*options, "-n", "second@%h"):
                wait_until(lambda: len(pids()) == 2, 30)
                given_away, second = pids()
                (project.directory / f"go-{given_away}").touch()
                for pid in everyone:
                    os.kill(pid, signal.SIGCONT)
                first.wait_for_log("The result of this execution is refused", 20)
                assert result.state == "PENDING"
                (project.directory / f"go-{second}").touch()
                assert result.get(timeout=20) == second
        finally:
            for pid in everyone:
                os.kill(pid, signal.SIGCONT)
    assert len(pids()) == 2


@pytest.mark.parametrize("urls", ["redis"], indirect=True)
def test_a_child_that_is_left_alone_does_not_wait_for_a_lease_that_nobody_renews(
    make_project, urls
):
    project = make_project(
        LATE_RESULT,
        broker=urls.broker,
        backend=urls.backend,
        conf={"broker_transport_options": {"lease": 1}},
    )
    starts = project.directory / "starts"
    with project.worker("-c", "1") as worker:
        result = project.proj.who.delay()
        (child,) = wait_until(lambda: starts.exists() and starts.read_text().split())
        worker.process.kill()
        worker.process.wait()
        time.sleep(1.5)
        (project.directory / f"go-{child}").touch()
        wait_until(lambda: not os.path.exists(f"/proc/{child}"), 20, worker.log)
        assert "The result of this execution is refused" in worker.log
        assert result.state == "PENDING"
