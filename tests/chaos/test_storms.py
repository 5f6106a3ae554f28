"""What a worker leans on fails again and again: connections, result store, disk, descriptors."""

from __future__ import annotations

import os
import resource
import sys
import time

import pytest
from redis import Redis
from redis.exceptions import RedisError

from taskq.exceptions import TimeoutError
from tests.chaos.rabbit import durable_rabbit
from tests.chaos.test_broker_restart import cpu_seconds, durable_redis
from tests.chaos.test_kills import LONG
from tests.integration.project import wait_until

__all__ = ("durable_rabbit", "durable_redis")

#: Restarts of the broker, if not the usual number.
ROUNDS = int(os.environ.get("TASKQ_RESTARTS", 0))

CODE = """
@app.task(acks_late=True)
def add(x, y):
    return x + y

@app.task
def slow(seconds):
    time.sleep(seconds)
    return "slow"

@app.task
def fill(size):
    return len(bytearray(size))

@app.task(acks_late=True)
def fill_late(size):
    return len(bytearray(size))
"""


def memory(pid: int) -> int:
    """Return the resident memory of a process in kB."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def descriptors(pid: int) -> int:
    """Return the number of open file descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_connections_are_killed_again_and_again(make_project, redis_url):
    """``CLIENT KILL`` of every connection, of workers and clients; nothing is lost or leaked."""
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    add = project.proj.add
    with project.worker("-c", "2") as worker, Redis.from_url(redis_url) as server:
        assert add.delay(1, 1).get(timeout=20) == 2
        results, before = [], 0
        for round_ in range(100 if LONG else 6):
            results += [add.delay(round_, number) for number in range(10)]
            server.client_kill_filter(_type="normal", skipme=True)
            server.client_kill_filter(_type="pubsub", skipme=True)
            # The last of a round is through before the next round begins.
            wait_until(results[-1].ready, 60)
            if round_ == 2:
                before = descriptors(worker.pid)
        expected = [round_ + n for round_ in range(len(results) // 10) for n in range(10)]
        assert [result.get(timeout=60) for result in results] == expected
        assert descriptors(worker.pid) <= before + 4
        answers = wait_until(lambda: project.proj.app.control.ping(timeout=2), 30)
        assert len(answers) == 1
        assert worker.process.poll() is None


@pytest.mark.parametrize("broker", ["redis", "rabbit"] if LONG or ROUNDS else ["redis"])
@pytest.mark.timeout(3600 if LONG or ROUNDS else 120)
def test_the_broker_restarts_again_and_again(make_project, request, durable_redis, broker):
    """Consuming resumes every time, control answers, and neither memory nor descriptors grow.

    ``TASKQ_CHAOS=long`` restarts Redis and RabbitMQ 100 times, ``TASKQ_RESTARTS=20`` 20 times.
    """
    server = durable_redis if broker == "redis" else request.getfixturevalue("durable_rabbit")
    # What RabbitMQ has not confirmed it may not have written.
    confirm = {"broker_transport_options": {"confirm_publish": True}} if broker == "rabbit" else {}
    project = make_project(CODE, broker=server.url, backend=durable_redis.url, conf=confirm)
    add = project.proj.add
    with project.worker("-c", "2") as worker:
        assert add.delay(1, 1).get(timeout=20) == 2
        sizes = []
        for round_ in range(ROUNDS or (100 if LONG else 3)):
            # Half of them while it works.
            busy = [add.delay(round_, n) for n in range(50)] if round_ % 2 else []
            server.kill()
            used = cpu_seconds(worker.pid)
            time.sleep(0.5)
            assert cpu_seconds(worker.pid) - used < 0.4, "busy while the broker was away"
            server.start()
            # Sent by a client of its own: what is meant is the worker.
            ran = project.run("-A", "proj", "call", "proj.add", "-a", f"[{round_}, 1]")
            result = project.proj.app.AsyncResult(ran.stdout.strip())
            wait_until(lambda result=result: value_of(result) == round_ + 1, 60, worker.log[-3000:])
            if broker == "rabbit":
                assert [one.get(timeout=60) for one in busy] == [
                    round_ + n for n in range(len(busy))
                ]
            sizes.append((memory(worker.pid), descriptors(worker.pid)))
            print(round_, *sizes[-1])
        stats = wait_until(lambda: stats_of(project), 30)
        assert stats["prefetch_count"] == 8
        first = sizes[min(4, len(sizes) - 2)]
        assert sizes[-1][0] - first[0] < 8_000
        assert sizes[-1][1] <= first[1] + 2


def value_of(result):
    """Return the value, None while it can't be told."""
    try:
        return result.result
    except (RedisError, OSError):
        return None


def stats_of(project):
    """Return what the worker tells about itself, None while it doesn't."""
    answers = project.proj.app.control.inspect(timeout=2).stats()
    return next(iter(answers.values())) if answers else None


def test_the_result_store_goes_away(make_project, durable_redis, redis_url):
    """During a task, while its result is stored, and under a client that waits for it."""
    project = make_project(CODE, broker=redis_url, backend=durable_redis.url)
    slow = project.proj.slow
    with project.worker("-c", "1") as worker:
        assert slow.delay(0).get(timeout=20) == "slow"
        result = slow.delay(0.5)
        worker.wait_for_log(f"{result.id}] received")
        durable_redis.kill()
        with pytest.raises((TimeoutError, RedisError, OSError)):
            result.get(timeout=0.2)
        worker.wait_for_log("Connection refused")  # the task has ended and tries to store
        durable_redis.start()
        wait_until(lambda: value_of(project.proj.app.AsyncResult(result.id)) == "slow", 60)
        assert worker.process.poll() is None


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_no_more_file_descriptors(make_project, redis_url):
    """A worker that can't open anything any more goes on with what it has, or ends: not stuck."""
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    add = project.proj.add
    with project.worker("-c", "1") as worker:
        assert add.delay(1, 1).get(timeout=20) == 2
        soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (descriptors(worker.pid), hard))
        assert [add.delay(n, 1).get(timeout=20) for n in range(20)] == list(range(1, 21))
        resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert add.delay(2, 2).get(timeout=20) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
@pytest.mark.parametrize("name", ["fill", "fill_late"] if LONG else ["fill_late"])
def test_the_memory_of_a_pool_process_is_limited(make_project, redis_url, name):
    """The task that wants more fails; its message is settled, and its process goes on."""
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    fill = getattr(project.proj, name)
    with project.worker("-c", "1") as worker:
        assert fill.delay(1).get(timeout=20) == 1
        (child,) = worker.children()
        with open(f"/proc/{child}/statm") as statm:
            size = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(child, resource.RLIMIT_AS, (size + 50_000_000,) * 2)
        for _ in range(10):
            with pytest.raises(MemoryError):
                fill.delay(500_000_000).get(timeout=20)
        assert fill.delay(2).get(timeout=20) == 2
        assert worker.children() == [child]
        with Redis.from_url(redis_url) as server:
            wait_until(lambda: not server.exists("unacked", project.queue))


SLOW_START = """
from taskq.signals import worker_process_init

@worker_process_init.connect
def initialise(**kwargs):
    time.sleep(1)

@app.task
def add(x, y):
    return x + y
"""


def test_pool_processes_that_start_slowly_come_up(make_project, redis_url):
    """Each is given more time than the one that was replaced: else none ever ran anything."""
    conf = {"worker_proc_alive_timeout": 0.3}
    project = make_project(SLOW_START, broker=redis_url, backend=redis_url, conf=conf)
    with project.worker("-c", "1") as worker:
        assert project.proj.add.delay(1, 1).get(timeout=40) == 2
        assert 1 <= worker.log.count("was not ready within") <= 6


def test_a_full_disk(make_project, sqlite_url):
    """Files may not grow any more: the client is told, the worker waits and goes on afterwards."""
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    add = project.proj.add
    path = project.directory / "taskq.db"
    with project.worker("-c", "1") as worker:
        assert add.delay(1, 1).get(timeout=20) == 2
        everyone = [worker.pid, *worker.children()]
        size = path.stat().st_size
        limits = [resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in everyone]
        for pid in everyone:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size // 2, limits[0][1]))
        results = [add.delay(number, 1) for number in range(5)]
        worker.wait_for_log("disk", 30)
        for pid in everyone:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits[0])
        for number, result in enumerate(results):
            assert wait_until(lambda result=result: value_of(result), 60) == number + 1
        assert worker.process.poll() is None
