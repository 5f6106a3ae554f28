"""The asyncio pool: many tasks in flight, a blocked loop, plain functions, shutdown, processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskq.exceptions import SoftTimeLimitExceeded
from tests.integration.project import Project, wait_until

CODE = """
import asyncio, threading
from taskq import signals

loops = []


@signals.worker_process_init.connect
async def opened(**kwargs):
    loops.append(asyncio.get_running_loop())


@signals.worker_process_shutdown.connect
async def closed(**kwargs):
    print(f"CLOSED {loops == [asyncio.get_running_loop()]}")


@app.task(name="same_loop")
async def same_loop():
    return loops == [asyncio.get_running_loop()]


@app.task(name="nap")
async def nap(seconds, value=None):
    await asyncio.sleep(seconds)
    return value


@app.task(name="late", acks_late=True)
async def late(path, seconds):
    await asyncio.sleep(seconds)
    with open(path, "a") as out:
        out.write("done\\n")


@app.task(name="tracked", track_started=True)
async def tracked(seconds):
    await asyncio.sleep(seconds)
    return seconds


@app.task(name="limited", rate_limit="50/s")
async def limited(n):
    return n


@app.task(name="hog")
async def hog(seconds):
    time.sleep(seconds)
    return "hogged"


@app.task(name="plain")
def plain(seconds=0.0):
    time.sleep(seconds)
    return threading.current_thread().name


@app.task(name="stubborn")
async def stubborn():
    while True:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            print("STUBBORN")


@app.task(name="quitting")
async def quitting():
    raise SystemExit(3)


@app.task(name="thread")
async def thread():
    return threading.current_thread().name
"""


@pytest.fixture
def sqlite(make_project: Callable[..., Project], sqlite_url: str) -> Project:
    return make_project(CODE, broker=sqlite_url, backend=sqlite_url)


@pytest.fixture
def redis(make_project: Callable[..., Project], redis_url: str) -> Project:
    return make_project(
        CODE,
        broker=redis_url,
        backend=redis_url,
        conf={"broker_transport_options": {"owner_timeout": 2}},
    )


def _in_flight(project: Project) -> int:
    stats: dict[str, Any] = project.proj.app.control.inspect(timeout=1).stats() or {}
    return sum(node["pool"]["in-flight"] for node in stats.values())


def test_a_thousand_in_flight(sqlite: Project) -> None:
    with sqlite.worker("-P", "asyncio", "-c", "1000") as worker:
        group = [sqlite.proj.nap.delay(60) for _ in range(1000)]
        wait_until(lambda: _in_flight(sqlite) == 1000, 30)
        sqlite.proj.app.control.revoke([each.id for each in group], terminate=True)
        wait_until(lambda: _in_flight(sqlite) == 0, 30)
        assert worker.process.poll() is None


def test_a_blocked_loop_is_named_and_stops_nothing_else(sqlite: Project) -> None:
    with sqlite.worker("-P", "asyncio", "-c", "10") as worker:
        blocked = sqlite.proj.hog.delay(3)
        worker.wait_for_log(f"hog[{blocked.id}]")
        worker.wait_for_log("blocks the event loop")
        assert not blocked.ready()
        # Plain functions go on, and so does remote control.
        assert sqlite.proj.plain.delay().get(timeout=20).startswith("asyncio-functions")
        assert sqlite.proj.app.control.ping(timeout=2)
        assert blocked.get(timeout=20) == "hogged"
        worker.wait_for_log("blocked the event loop for")


def test_a_blocked_loop_does_not_stop_a_cold_shutdown(sqlite: Project) -> None:
    worker = sqlite.start_worker("-P", "asyncio", "-c", "10")
    sqlite.proj.hog.delay(300)
    worker.wait_for_log("blocks the event loop")
    worker.stop(signal.SIGQUIT, timeout=30)


def test_warm_shutdown_finishes_what_runs_and_returns_the_rest(sqlite: Project) -> None:
    worker = sqlite.start_worker("-P", "asyncio", "-c", "2")
    running = [sqlite.proj.nap.delay(2, n) for n in range(2)]
    worker.wait_for_log(f"nap[{running[1].id}] received")
    wait_until(lambda: _in_flight(sqlite) == 2)
    waiting = [sqlite.proj.nap.delay(0, n) for n in range(2)]
    assert worker.stop() == 0
    assert [each.state for each in running] == ["SUCCESS", "SUCCESS"]
    assert [each.state for each in waiting] == ["PENDING", "PENDING"]
    with sqlite.worker("-P", "asyncio"):
        assert [each.get(timeout=20) for each in waiting] == [0, 1]


def test_plain_functions_run_in_threads_and_coroutines_on_the_loop(sqlite: Project) -> None:
    with sqlite.worker("-P", "asyncio", "-c", "50") as worker:
        assert sqlite.proj.same_loop.delay().get(timeout=20)
        names = {each.get(timeout=20) for each in [sqlite.proj.plain.delay(0.05) for _ in range(9)]}
        assert all(name.startswith("asyncio-functions") for name in names)
        assert sqlite.proj.thread.delay().get(timeout=20) == "asyncio-tasks"
        large = sqlite.proj.nap.delay(0, "x" * 200_000)
        assert len(large.get(timeout=20)) == 200_000
        lost = sqlite.proj.quitting.delay()
        lost.get(timeout=20, propagate=False)
        assert lost.state == "FAILURE"
        assert sqlite.proj.nap.delay(0, 1).get(timeout=20) == 1
        assert worker.stop() == 0
        assert "CLOSED True" in worker.log


def test_what_holds_for_tasks_of_every_pool(sqlite: Project) -> None:
    proj = sqlite.proj
    with sqlite.worker("-P", "asyncio", "-c", "50", "--soft-time-limit", "3") as worker:
        result = proj.tracked.apply_async((0.5,), countdown=0.2)
        wait_until(lambda: result.state == "STARTED")
        assert result.get(timeout=20) == 0.5
        limited = [proj.limited.delay(n) for n in range(10)]
        assert [each.get(timeout=20) for each in limited] == list(range(10))
        expired = proj.nap.apply_async((0,), expires=-1)
        expired.get(timeout=20, propagate=False)
        assert expired.state == "REVOKED"
        slow = proj.nap.delay(60)
        wait_until(lambda: _in_flight(sqlite) == 1)
        ((active,),) = (proj.app.control.inspect(timeout=5, limit=1).active() or {}).values()
        assert (active["id"], active["worker_pid"]) == (slow.id, worker.pid)
        with pytest.raises(SoftTimeLimitExceeded):
            slow.get(timeout=20)
        worker.wait_for_log("Soft time limit (3.0s) exceeded for nap")
        proj.app.control.pool_grow(5)
        wait_until(
            lambda: any(
                node["pool"]["max-concurrency"] == 55
                for node in (proj.app.control.inspect(timeout=1).stats() or {}).values()
            )
        )


def test_the_loop_of_the_standard_library(sqlite: Project) -> None:
    (sqlite.directory / "uvloop.py").write_text("raise ImportError")
    with sqlite.worker("-P", "asyncio", "-c", "50"):
        assert sqlite.proj.nap.delay(0, 1).get(timeout=20) == 1
        stats = sqlite.proj.app.control.inspect(timeout=2).stats()
        assert [node["pool"]["loop"] for node in stats.values()] == [
            "asyncio.unix_events._UnixSelectorEventLoop"
        ]


def test_late_acknowledged_tasks_survive_kill_nine(redis: Project, tmp_path: Path) -> None:
    out = tmp_path / "out"
    worker = redis.start_worker("-P", "asyncio", "-c", "100")
    results = [redis.proj.late.delay(str(out), 0.5) for _ in range(50)]
    wait_until(lambda: _in_flight(redis) > 0)
    os.kill(worker.pid, signal.SIGKILL)
    worker.process.wait()
    with redis.worker("-P", "asyncio", "-c", "100"):
        for result in results:
            result.get(timeout=60)
    assert out.read_text().count("done") >= 50


def test_several_processes(redis: Project) -> None:
    with redis.worker("-P", "asyncio", "-c", "10", "--processes", "2", ready=False) as several:
        control = redis.proj.app.control
        wait_until(lambda: len(control.ping(timeout=1)) == 2, 30)
        names = sorted(name for reply in control.ping(timeout=2) for name in reply)
        assert [name.partition("@")[0].rpartition("-")[2] for name in names] == ["1", "2"]
        results = [redis.proj.nap.delay(0.05, n) for n in range(40)]
        assert [each.get(timeout=20) for each in results] == list(range(40))
        os.kill(several.children()[0], signal.SIGKILL)
        wait_until(lambda: "starting another" in several.log, 20)
        wait_until(lambda: len(control.ping(timeout=1)) == 2, 40)
        assert several.stop() == 0


def test_a_loop_in_each_process_of_prefork(sqlite: Project) -> None:
    with sqlite.worker("-P", "prefork", "--loop", "-c", "2", ready=False) as several:
        control = sqlite.proj.app.control
        wait_until(lambda: len(control.ping(timeout=1)) == 2, 30)
        pools = [each["pool"] for each in control.inspect(timeout=5, limit=2).stats().values()]
        assert [each["implementation"].rpartition(":")[0] for each in pools] == [
            "taskq.concurrency.asyncio.pool"
        ] * 2
        # No two at a time would be ready by then.
        results = [sqlite.proj.nap.delay(0.5, n) for n in range(100)]
        assert [each.get(timeout=20) for each in results] == list(range(100))
        assert several.stop() == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-P", "threads"), "--loop is for -P prefork"),
        (("--processes", "2"), "not --processes"),
        (("--autoscale", "4,2"), "no --autoscale"),
    ],
)
def test_what_has_no_loop_in_each_process(
    sqlite: Project, options: tuple[str, ...], reason: str
) -> None:
    ran = sqlite.run("-A", "proj", "worker", "--loop", *options)
    assert ran.returncode == 2
    assert reason in ran.stderr


def test_processes_are_refused_with_prefork(sqlite: Project) -> None:
    ran = sqlite.run("-A", "proj", "worker", "--processes", "2")
    assert ran.returncode == 2
    assert "with prefork use -c" in ran.stderr


def test_a_plain_function_cannot_be_terminated(sqlite: Project) -> None:
    with sqlite.worker("-P", "asyncio", "-c", "10") as worker:
        result = sqlite.proj.plain.delay(2)
        wait_until(lambda: _in_flight(sqlite) == 1)
        result.revoke(terminate=True)
        time.sleep(0.1)
        assert result.get(timeout=20).startswith("asyncio-functions")
        assert worker.process.poll() is None
