"""The prefork pool with real child processes: jobs in, outcomes out."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu.asynchronous import Hub

from taskq.concurrency.prefork import TaskPool
from taskq.exceptions import ImproperlyConfigured
from tests.unit.concurrency.pool_support import EXECUTOR, RecordingJob, run, turn_until, wait

MakePool = Callable[..., TaskPool]


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools: list[TaskPool] = []

    def make(children: int = 2, **options: Any) -> TaskPool:
        pool = TaskPool(children, executor=EXECUTOR, **options)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.terminate()


@pytest.fixture
def pool(make_pool: MakePool) -> TaskPool:
    return make_pool()


def all_up(pool: TaskPool) -> None:
    turn_until(pool, lambda: pool.free_slots() == pool.num_processes)


def test_runs_a_job_in_another_process(pool: TaskPool) -> None:
    job = RecordingJob("pid")
    run(pool, job)
    assert job.value in pool.info["processes"]
    assert job.value != os.getpid()
    assert job.pids == [job.value]


def test_tells_a_job_what_happens_in_order(pool: TaskPool) -> None:
    job = RecordingJob("add", (2, 2))
    run(pool, job)
    assert job.calls == ["dispatched", "started", "outcome"]
    assert job.value == 4


def test_a_task_that_raises_reports_the_exception(pool: TaskPool) -> None:
    job = RecordingJob("fail", ("no",))
    run(pool, job)
    assert isinstance(job.error, ValueError)
    assert str(job.error) == "no"


def test_system_exit_of_a_task_loses_it_and_ends_the_child(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job, after = RecordingJob("system_exit", (3,)), RecordingJob("pid")
    run(pool, job, after)
    assert "exitcode 3." in str(job.lost)
    assert after.pids != job.pids


def test_many_jobs_all_end_once(pool: TaskPool) -> None:
    jobs = [RecordingJob("add", (number, 1)) for number in range(2000)]
    run(pool, *jobs)
    assert [job.value for job in jobs] == list(range(1, 2001))
    assert all(job.calls.count("outcome") == 1 for job in jobs)
    assert pool.jobs() == []


def test_payloads_that_marshal_cannot_write_are_pickled(pool: TaskPool) -> None:
    from datetime import UTC, datetime

    job = RecordingJob("measure", ("abc",), headers={"eta": datetime.now(UTC)})
    run(pool, job)
    assert job.value == 3


def test_large_bodies_and_results_pass(pool: TaskPool) -> None:
    size = 5_000_000
    jobs = [RecordingJob("measure", ("x" * size,)) for _ in range(4)]
    texts = [RecordingJob("text", (size,)) for _ in range(4)]
    small = [RecordingJob("add", (1, number)) for number in range(100)]
    run(pool, *jobs, *texts, *small)
    assert [job.value for job in jobs] == [size] * 4
    assert [len(job.value) for job in texts] == [size] * 4
    assert [job.value for job in small] == list(range(1, 101))


@pytest.mark.parametrize("size", [60_000, 65_000, 65_536, 66_000, 200_000])
def test_bodies_around_the_packet_size_pass(pool: TaskPool, size: int) -> None:
    jobs = [RecordingJob("measure", ("x" * size,)) for _ in range(40)]
    run(pool, *jobs)
    assert {job.value for job in jobs} == {size}


def test_acknowledges_a_batch_before_any_of_it_reaches_a_child(
    pool: TaskPool, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    jobs = [RecordingJob("append", (str(log), "ran")) for _ in range(4)]
    seen: list[tuple[list[list[str]], bool]] = []
    pool.before_dispatch = lambda: seen.append(([list(job.calls) for job in jobs], log.exists()))
    all_up(pool)
    run(pool, *jobs)
    calls, ran = seen[0]
    dispatched = [entry for entry in calls if entry]
    assert dispatched
    assert all(entry == ["dispatched"] for entry in dispatched)
    assert not ran


def test_nothing_reaches_a_child_while_acknowledging_fails(pool: TaskPool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    all_up(pool)

    def refuse() -> None:
        raise ConnectionError("the broker is away")

    pool.before_dispatch = refuse
    job = RecordingJob("append", (str(log), "ran"))
    pool.submit(job)
    with pytest.raises(ConnectionError):
        pool.flush_dispatch()
    with pytest.raises(ConnectionError):
        pool.flush_dispatch()
    assert not log.exists()
    pool.before_dispatch = None
    wait(pool, job)
    assert job.calls == ["dispatched", "started", "outcome"]
    assert log.read_text() == "ran\n"


def test_acknowledging_may_take_jobs_out_of_the_batch(pool: TaskPool) -> None:
    all_up(pool)
    lost, kept = RecordingJob("noop"), RecordingJob("noop")
    answers: list[bool] = []

    def flush() -> None:
        pool.before_dispatch = None
        answers.append(pool.cancel_pending(lost))

    pool.before_dispatch = flush
    pool.submit(lost)
    run(pool, kept)
    assert answers == [True]
    assert lost.calls == ["dispatched"]
    assert pool.free_slots() == 2


def test_a_job_that_cannot_be_dispatched_is_left_alone(pool: TaskPool) -> None:
    class Refusing(RecordingJob):
        def on_dispatched(self) -> None:
            raise ConnectionError("can't acknowledge")

    bad, good = Refusing("noop"), RecordingJob("noop")
    pool.submit(bad)
    run(pool, good)
    assert bad.calls == []
    assert pool.free_slots() >= 1


def test_short_tasks_never_wait_behind_a_long_one(pool: TaskPool) -> None:
    all_up(pool)
    # Teach it that the name is short, so that tasks queue in the children.
    run(pool, *[RecordingJob("sleep", (0.001,)) for _ in range(50)])
    long = RecordingJob("sleep", (1.0,))
    short = [RecordingJob("sleep", (0.001,)) for _ in range(200)]
    started = time.time()
    run(pool, *short[:20], long, *short[20:])
    assert max(job.ended for job in short) - started < 0.9
    assert long.ended - started >= 1.0
    assert {job.value for job in short[100:]} == {job.value for job in short[100:]} - {long.value}


def test_unread_tasks_move_to_a_child_that_idles(pool: TaskPool) -> None:
    all_up(pool)
    run(pool, *[RecordingJob("sleep", (0.0001,)) for _ in range(50)])
    # Both children get tasks of a name that is known to be short; all of them are long now.
    jobs = [RecordingJob("sleep", (0.2,)) for _ in range(6)]
    started = time.time()
    run(pool, *jobs)
    assert max(job.ended for job in jobs) - started < 0.85
    assert {job.value for job in jobs} == set(pool.info["processes"])


def test_a_task_that_moves_to_another_child_counts_once_and_there(pool: TaskPool) -> None:
    all_up(pool)
    known = [RecordingJob("sleep", (0.0001,)) for _ in range(50)]
    run(pool, *known)
    # The long one has short ones behind it, which the other child runs.
    jobs = [RecordingJob("sleep", (0.5,)), *(RecordingJob("sleep", (0.0001,)) for _ in range(7))]
    run(pool, *jobs)
    ran = [sum(job.value == child for job in known + jobs) for child in pool.info["processes"]]
    writes = pool.info["writes"]
    assert writes["total"] == sum(ran) == 58
    assert writes["raw"] == ", ".join(map(str, ran))


def test_efficiency_of_long_tasks_on_many_children(make_pool: MakePool) -> None:
    pool = make_pool(8)
    all_up(pool)
    jobs = [RecordingJob("sleep", (0.05,)) for _ in range(80)]
    run(pool, *jobs)
    counts = [sum(job.value == child for job in jobs) for child in pool.info["processes"]]
    assert counts == [10] * 8


def test_pending_jobs_can_be_cancelled(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    log = tmp_path / "log"
    jobs = [RecordingJob("append", (str(log), str(number), 0.2)) for number in range(3)]
    for job in jobs:
        pool.submit(job)
    turn_until(pool, lambda: bool(jobs[0].pids))
    assert pool.cancel_pending(jobs[1]) is True
    assert pool.cancel_pending(jobs[1]) is False
    assert pool.cancel_pending(jobs[0]) is False
    wait(pool, jobs[0], jobs[2])
    assert log.read_text() == "0\n2\n"


def test_jobs_in_a_childs_socket_can_be_cancelled(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    log = tmp_path / "log"
    run(pool, *[RecordingJob("append", (str(log), "warm")) for _ in range(30)])
    jobs = [RecordingJob("append", (str(log), str(number), 0.3)) for number in range(4)]
    for job in jobs:
        pool.submit(job)
    turn_until(pool, lambda: jobs[2].calls == ["dispatched"])
    assert pool.cancel_pending(jobs[1]) is True
    wait(pool, jobs[0], jobs[2], jobs[3])
    assert log.read_text().replace("warm\n", "") == "0\n2\n3\n"
    assert jobs[1].calls == ["dispatched"]


def test_take_back_returns_what_has_not_begun(make_pool: MakePool) -> None:
    pool = make_pool(1)
    run(pool, *[RecordingJob("sleep", (0.0,)) for _ in range(30)])
    jobs = [RecordingJob("sleep", (0.3,)) for _ in range(20)]
    for job in jobs:
        pool.submit(job)
    turn_until(pool, lambda: bool(jobs[0].pids))
    assert pool.take_back() == jobs[1:]
    wait(pool, jobs[0])
    assert all(not job.done for job in jobs[1:])


def test_lists_running_jobs(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job = RecordingJob("sleep", (0.2,))
    pool.submit(job)
    turn_until(pool, lambda: bool(job.pids))
    [running] = pool.jobs()
    assert running.job is job
    assert running.pid == pool.info["processes"][0]
    assert abs(running.started - time.time()) < 5
    assert pool.free_slots() == 0
    wait(pool, job)
    assert pool.jobs() == []


def test_follows_a_hub(pool: TaskPool) -> None:
    hub = Hub()
    pool.register_with_event_loop(hub)
    jobs = [RecordingJob("add", (1, number)) for number in range(50)]
    for job in jobs:
        pool.submit(job)
    deadline = time.monotonic() + 20
    while not all(job.done for job in jobs):
        assert time.monotonic() < deadline
        hub.run_once()
    # A worker resets its hub when the connection is lost.
    hub.reset()
    pool.register_with_event_loop(hub)
    more = [RecordingJob("sleep", (5.0,), hard_limit=0.2), *jobs[:0]]
    pool.submit(more[0])
    started = time.monotonic()
    while not more[0].done:
        hub.run_once()
    assert time.monotonic() - started < 4
    pool.stop()
    assert not hub.readers
    hub.close()


def test_applies_callables(pool: TaskPool) -> None:
    events: list[Any] = []
    result = pool.apply_async(
        divmod,
        (7, 2),
        callback=events.append,
        accept_callback=lambda pid, started: events.append(pid in pool.info["processes"]),
    )
    assert result.get(timeout=10) == (3, 1)
    assert result.ready()
    assert result.successful()
    assert events == [True, (3, 1)]


def test_a_callable_that_raises(pool: TaskPool) -> None:
    errors: list[Any] = []
    result = pool.apply_async(divmod, (1, 0), error_callback=errors.append)
    with pytest.raises(ZeroDivisionError):
        result.get(timeout=10)
    assert isinstance(errors[0].exception, ZeroDivisionError)


def test_unpicklable_callables_are_refused_at_once(pool: TaskPool) -> None:
    with pytest.raises(Exception, match=r"pickle|local object"):  # as Python 3.13 says
        pool.apply_async(lambda: None)


def test_results_that_cannot_be_pickled_fail_the_call(pool: TaskPool) -> None:
    result = pool.apply_async(open, (os.devnull,))
    with pytest.raises(Exception, match="TextIOWrapper"):
        result.get(timeout=10)


def test_info_has_the_keys_that_monitors_read(make_pool: MakePool) -> None:
    pool = make_pool(2, timeout=60, soft_timeout=50, maxtasksperchild=100)
    run(pool, *[RecordingJob("noop") for _ in range(10)])
    info = pool.info
    assert info["implementation"] == "taskq.concurrency.prefork:TaskPool"
    assert info["max-concurrency"] == 2
    assert len(info["processes"]) == 2
    assert info["max-tasks-per-child"] == 100
    assert info["put-guarded-by-semaphore"] is True
    assert info["timeouts"] == (50, 60)
    assert info["writes"]["total"] == 10
    assert pool.did_start_ok()


def test_grows_and_shrinks(pool: TaskPool) -> None:
    pool.grow(2)
    all_up(pool)
    assert pool.num_processes == len(pool.info["processes"]) == 4
    busy = RecordingJob("sleep", (0.3,))
    pool.submit(busy)
    turn_until(pool, lambda: bool(busy.pids))
    pool.shrink(3)
    turn_until(pool, lambda: len(pool.info["processes"]) == 1)
    wait(pool, busy)
    assert busy.value == pool.info["processes"][0]
    with pytest.raises(ValueError, match="has 1 process"):
        pool.shrink(1)


def test_restart_replaces_the_children_and_finishes_what_runs(pool: TaskPool) -> None:
    all_up(pool)
    before = set(pool.info["processes"])
    busy = RecordingJob("sleep", (0.3,))
    pool.submit(busy)
    turn_until(pool, lambda: bool(busy.pids))
    pool.restart()
    after = RecordingJob("pid")
    pool.submit(after)
    wait(pool, busy, after)
    assert busy.value in before
    assert after.value not in before
    turn_until(pool, lambda: not before & set(pool.info["processes"]))
    assert len(pool.info["processes"]) == 2


def test_stop_finishes_what_was_submitted(make_pool: MakePool) -> None:
    pool = make_pool(2)
    jobs = [RecordingJob("sleep", (0.02,)) for _ in range(20)]
    for job in jobs:
        pool.submit(job)
    pids = pool.info["processes"]
    pool.close()
    pool.stop()
    assert all(job.calls[-1] == "outcome" for job in jobs)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_terminate_tells_acknowledged_jobs_and_leaves_the_others_to_the_broker(
    make_pool: MakePool, tmp_path: Path
) -> None:
    pool = make_pool(2)
    early = RecordingJob("cleanup_on_exit", (str(tmp_path / "early"), 30.0))
    late = RecordingJob("sleep", (30.0,), early_ack=False)
    for job in (early, late):
        pool.submit(job)
    turn_until(pool, lambda: bool(early.pids and late.pids) and (tmp_path / "early").exists())
    started = time.monotonic()
    pool.terminate()
    assert time.monotonic() - started < 5
    assert type(early.lost).__name__ == "Terminated"
    assert early.lost.args == (signal.SIGTERM,)
    assert late.calls == ["dispatched", "started"]
    assert (tmp_path / "early").read_text() == "begin\ncleanup\n"


def test_children_are_named_and_may_have_children(pool: TaskPool) -> None:
    names, process = RecordingJob("process_names"), RecordingJob("start_process")
    run(pool, names, process)
    multiprocessing_name, billiard_name, index = names.value
    assert multiprocessing_name == billiard_name
    assert billiard_name in {"ForkPoolWorker-1", "ForkPoolWorker-2"}
    assert index in {0, 1}
    assert process.value == 0


def test_children_survive_a_signal_to_the_group(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job = RecordingJob("ignore_sigterm_from_outside")
    run(pool, job)
    assert job.value == "alive"


def test_children_have_an_empty_standard_input(make_pool: MakePool) -> None:
    pool = make_pool(1)
    job = RecordingJob("stdin_is_empty")
    run(pool, job)
    assert job.value == ""


EVENTPOLL = "anon_inode:[eventpoll]"


def test_children_hold_no_descriptors_of_the_main_process(make_pool: MakePool) -> None:
    hub = Hub()
    reader, writer = os.pipe()
    hub.add_reader(reader, lambda: None)
    hub.run_once()
    pipe = f"pipe:[{os.fstat(reader).st_ino}]"
    gc.collect()  # what other tests have left
    own = Counter(
        os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _open(fd)
    )
    pool = TaskPool(4, executor=EXECUTOR)
    pool.register_with_event_loop(hub)
    pool.start()
    try:
        all_up(pool)
        jobs = [RecordingJob("open_descriptors") for _ in range(40)]
        run(pool, *jobs)
        for job in jobs:
            # The pipe's other end is nobody's reader, so it stays.
            assert job.value.count(pipe) == 1
            new = [name for name in job.value if name not in own and name != "/dev/null"]
            assert [name.split(":")[0] for name in new] == ["socket"], job.value
            assert not any("pidfd" in name for name in new)
            # Not the hub's; those of other tests may be closed at any time.
            assert job.value.count(EVENTPOLL) < own[EVENTPOLL], job.value
    finally:
        pool.stop()
        hub.close()
        os.close(reader)
        os.close(writer)


def _open(fd: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{fd}")


def test_an_unknown_start_method_is_refused() -> None:
    pool = TaskPool(1, executor=EXECUTOR, start_method="clone")
    with pytest.raises(ImproperlyConfigured, match="'clone': use one of fork, spawn, forkserver"):
        pool.start()
