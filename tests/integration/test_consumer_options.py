"""Options about how many messages a worker takes, and how ETAs are waited for."""

from __future__ import annotations

import os
import time

import pytest

from tests.integration.project import wait_until

CODE = """
@app.task(acks_late=True)
def late(seconds):
    open("started", "a").write("x")
    if seconds is None:
        while not os.path.exists("go"):
            time.sleep(0.02)
    else:
        time.sleep(seconds)
    return "done"

@app.task
def when():
    return time.time()
"""


def prefetch_count(project):
    """Return what the project's first worker answers; others may share the broker."""
    names = f"w0-{project.queue}@*"

    def ask():
        # Again, if it was not listening yet.
        return project.proj.app.control.broadcast(
            "stats", reply=True, pattern=names, matcher="glob", timeout=2, limit=1
        )

    return next(stats["prefetch_count"] for stats in wait_until(ask)[0].values())


def test_fewer_messages_ahead_after_a_reconnect(make_project, own_redis):
    url, start, stop = own_redis
    project = make_project(CODE, broker=url, backend=None)
    with project.worker("-c", "2", "--prefetch-multiplier", "3") as worker:
        assert prefetch_count(project) == 6
        project.proj.late.delay(6)
        wait_until((project.directory / "started").exists)
        stop()
        worker.wait_for_log("Connection to broker lost")
        worker.wait_for_log("Temporarily reducing the prefetch count to 3")
        start()
        worker.wait_for_log("Prefetch count has been restored to the maximum of 6")
        assert prefetch_count(project) == 6


def test_the_reduction_can_be_turned_off(make_project, own_redis):
    url, start, stop = own_redis
    project = make_project(
        CODE, broker=url, backend=None, conf={"worker_enable_prefetch_count_reduction": False}
    )
    with project.worker("-c", "2", "--prefetch-multiplier", "3") as worker:
        project.proj.late.delay(4)
        wait_until((project.directory / "started").exists)
        stop()
        worker.wait_for_log("Connection to broker lost")
        start()
        wait_until(lambda: worker.log.count("Connected to") == 2)
        wait_until(lambda: prefetch_count(project) == 6)
        assert "Temporarily reducing" not in worker.log


def test_long_tasks_can_be_cancelled_when_the_connection_is_lost(make_project, own_redis):
    url, start, stop = own_redis
    project = make_project(
        CODE,
        broker=url,
        backend=None,
        conf={"worker_cancel_long_running_tasks_on_connection_loss": True},
    )
    with project.worker("-c", "2") as worker:
        project.proj.late.delay(60)
        wait_until((project.directory / "started").exists)
        stop()
        worker.wait_for_log("Terminating it instead")
        start()


def test_etas_held_in_memory_are_limited(make_project, amqp_url):
    project = make_project(
        CODE, broker=amqp_url, backend="rpc://", conf={"worker_eta_task_limit": 4}
    )
    with project.worker("-c", "1", "--prefetch-multiplier", "2") as worker:
        results = [project.proj.when.apply_async(countdown=4) for _ in range(8)]
        sent = time.time()
        wait_until(lambda: worker.log.count(" received") == 4)
        assert prefetch_count(project) == 4
        assert worker.log.count(" received") == 4
        done = [result.get(timeout=20) for result in results]
        assert min(done) >= sent + 3
        wait_until(lambda: prefetch_count(project) == 2)


@pytest.mark.parametrize("broker", ["sqlite", "redis", "amqp", "quorum"])
@pytest.mark.parametrize("task", ["late", "early"])
def test_without_prefetch_waiting_tasks_stay_for_others(make_project, request, broker, task):
    url = request.getfixturevalue("amqp_url" if broker == "quorum" else f"{broker}_url")
    code = f"{CODE}\nearly = app.task(name='early')(late.run)\n"
    conf = quorum_settings() if broker == "quorum" else {}
    backend = url if broker in ("sqlite", "redis") else "rpc://"
    project = make_project(code, broker=url, backend=backend, conf=conf)
    with project.worker("-c", "1", "--disable-prefetch") as worker:
        send = getattr(project.proj, task).delay
        long, *others = [send(None), send(0), send(0)]
        wait_until((project.directory / "started").exists)
        time.sleep(0.5)
        assert worker.log.count(" received") == 1
        with project.worker("-c", "1", "--disable-prefetch") as other:
            for result in others:
                assert result.get(timeout=20) == "done"
            (project.directory / "go").touch()
            assert long.get(timeout=20) == "done"
            assert other.log.count(" received") >= 1
        assert send(0).get(timeout=20) == "done"
    if broker == "quorum":
        remove(project, conf)


def test_without_prefetch_all_of_the_pool_is_used(make_project, amqp_url):
    code = f"{CODE}\nearly = app.task(name='early')(late.run)\n"
    project = make_project(code, broker=amqp_url, backend="rpc://")
    with project.worker("-c", "3", "--disable-prefetch") as worker:
        proj = project.proj
        started = project.directory / "started"
        results = [proj.late.delay(2), proj.early.delay(2), proj.late.delay(2), proj.early.delay(0)]
        eta = proj.when.apply_async(countdown=1)
        wait_until(lambda: started.exists() and started.read_text() == "xxx")
        assert [result.get(timeout=20) for result in results] == ["done"] * 4
        assert eta.get(timeout=20)
        assert [proj.early.delay(0).get(timeout=20) for _ in range(5)] == ["done"] * 5
        assert worker.stop() == 0


QUORUM = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
}


def quorum_settings():
    name = f"quorum-{os.urandom(4).hex()}"
    return {**QUORUM, "task_default_queue": name, "task_default_exchange": name,
            "task_default_routing_key": name}  # fmt: skip


def remove(project, settings):
    """Delete what a project of `quorum_settings` has made at the broker."""
    with project.proj.app.connection() as connection:
        connection.default_channel.queue_delete(settings["task_default_queue"])
        connection.default_channel.exchange_delete(settings["task_default_exchange"])


def test_rabbitmq_delays_messages_of_quorum_queues(make_project, amqp_url):
    settings = quorum_settings()
    project = make_project(CODE, broker=amqp_url, backend="rpc://", conf=settings)
    try:
        sent = time.time()
        # Before any worker: the message waits at the broker, not in the queue.
        result = project.proj.when.apply_async(countdown=8)
        with project.worker("-c", "1") as worker:
            worker.wait_for_log("Messages with an ETA are delayed by queues of the broker")
            worker.wait_for_log("Global QoS is disabled")
            assert project.proj.when.delay().get(timeout=20) < sent + 8
            assert worker.log.count(" received") == 1
            assert result.get(timeout=20) >= sent + 8
    finally:
        remove(project, settings)


BROKEN_STEP = """
from taskq import bootsteps

@app.task
def add(x, y):
    return x + y

class Broken(bootsteps.StartStopStep):
    requires = ("taskq.worker.consumer.tasks:Tasks",)

    def start(self, consumer):
        consumer.on_task_message.add(self.look)

    def look(self, request):
        raise AttributeError("a mistake of the extension's")

app.steps["consumer"].add(Broken)
"""


def test_what_an_extension_does_wrong_costs_no_task(make_project, sqlite_url):
    project = make_project(BROKEN_STEP, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1") as worker:
        assert project.proj.add.delay(1, 2).get(timeout=20) == 3
        assert "a mistake of the extension's" in worker.log


def test_limits_of_processes_are_said_to_be_no_use_without_any(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=None)
    options = ("--max-tasks-per-child", "5", "--max-memory-per-child", "100000")
    with project.worker("-P", "threads", *options) as worker:
        for limit in ("max_tasks_per_child", "max_memory_per_child"):
            assert f"worker_{limit} has no effect here: taskq.concurrency.thread" in worker.log
    with project.worker("-c", "1", *options) as worker:
        assert "has no effect" not in worker.log
