"""What a task may cost, counted: no clock, so that what gets slower fails on any machine.

The limits leave room for what a worker does by itself meanwhile: heartbeats, leases.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import shutil
import signal
import subprocess
import sys

import pytest

from taskq import group
from taskq.app.looppublisher import CALLS_BEFORE_CONNECTING
from taskq.transport.deliveries import Message, next_delivery
from tests.benchmarks.benchcpu import wakeups
from tests.integration.project import wait_until
from tests.unit.transport.test_amqp_deliveries import Channel, frames

#: Tasks of a measurement.
COUNT = 1500

CODE = """
    @app.task(ignore_result=True)
    def noop(): pass

    @app.task
    def add(x, y): return x + y

    @app.task(ignore_result=True)
    def finish(path): open(path, "w").close()
"""


class Server:
    """What a Redis server has counted since the last look."""

    def __init__(self, client):
        self.client = client
        self.look()

    def look(self):
        """Return reads of sockets, bytes received, and calls by command, since the last look."""
        stats = self.client.info("stats")
        calls = {
            name.removeprefix("cmdstat_"): each["calls"]
            for name, each in self.client.info("commandstats").items()
        }
        now = {
            "reads": stats["total_reads_processed"],
            "received": stats["total_net_input_bytes"],
            "sent": stats["total_net_output_bytes"],
            **calls,
        }
        before, self._last = getattr(self, "_last", {}), now
        return {name: count - before.get(name, 0) for name, count in now.items()}


@pytest.fixture
def server(client):
    return Server(client)


@pytest.fixture
def project(make_project, redis_url):
    return make_project(CODE, broker=redis_url, backend=redis_url)


def publish(project, name, args=(), count=COUNT):
    """Put tasks into the queue, and one behind them that makes a file when it runs."""
    app, marker = project.proj.app, project.directory / "finished"
    task, finish = getattr(project.proj, name), project.proj.finish
    with app.producer_pool.acquire(block=True) as producer, app.amqp.batch(producer):
        for _ in range(count):
            task.apply_async(args, producer=producer)
        finish.apply_async((str(marker),), producer=producer)
    return marker


def drained(project, client, marker):
    """Tell whether all tasks are done and acknowledged."""
    return (
        marker.exists()
        and not client.llen(project.queue)
        and not client.hlen("unacked")
    )  # fmt: skip


def drain(project, client, server, name, args=()):
    """Return what a worker costs the server for each task of a full queue."""
    marker = publish(project, name, args)
    server.look()
    with project.worker("-c", "2"):
        wait_until(lambda: drained(project, client, marker), 60)
        costs = server.look()
        (stats,) = project.proj.app.control.inspect(timeout=10).stats().values()
        assert stats["total"] == {f"proj.{name}": COUNT, "proj.finish": 1}
    return {what: count / COUNT for what, count in costs.items()}


# -- publishing ------------------------------------------------------------------------


def test_delay_is_one_command_in_one_round_trip(project, server):
    noop = project.proj.noop
    noop.delay()
    server.look()
    for _ in range(100):
        noop.delay()
    costs = server.look()
    assert costs["lpush"] == 100
    assert costs["reads"] <= 100 + 10
    others = {
        name: calls
        for name, calls in costs.items()
        if calls and name not in {"lpush", "info", "reads", "received", "sent"}
    }
    assert not others
    assert costs["received"] / 100 < 1000  # the message in Celery's format


def test_group_is_a_few_round_trips(project, server):
    noop = project.proj.noop
    group([noop.s(), noop.s()]).apply_async()
    server.look()
    group(noop.s() for _ in range(1000)).apply_async()
    costs = server.look()
    assert costs["lpush"] <= 10
    # The server reads a large command piece by piece: 16 kB at a time at least.
    assert costs["reads"] <= 1000 * 1000 / 16_000 + 10


def calls_of(function):
    """Return how many functions of Python and of C a call calls, the second time."""
    function()
    return counted(function)[0]


def counted(function):
    """Return how many functions of Python and of C a call calls, and what it returns."""
    counts = {"call": 0, "c_call": 0}

    def count(frame, event, arg):
        if event in counts:
            counts[event] += 1

    # What others have called when garbage is collected is not counted.
    gc.disable()
    sys.setprofile(count)
    try:
        returned = function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return counts["call"] + counts["c_call"], returned


def test_delay_calls_few_functions(project):
    # 123 and 130 as this is written.
    assert calls_of(project.proj.noop.delay) <= 135
    assert calls_of(lambda: project.proj.add.delay(1, 2)) <= 145


def test_adelay_calls_few_functions_until_the_message_is_sent(project):
    async def send():
        for _ in range(CALLS_BEFORE_CONNECTING + 3):
            await project.proj.add.adelay(1, 2)
        sending = project.proj.add.adelay(1, 2)
        calls, answer = counted(lambda: sending.send(None))
        await asyncio.wait([answer])
        with pytest.raises(StopIteration):
            sending.send(None)
        return calls

    # 133 as this is written: what delay() takes, and asyncio's share.
    assert asyncio.run(send()) <= 145


@pytest.mark.parametrize("how", ["group", "starmap_async"])
def test_each_call_of_a_bulk_calls_few_functions(project, how):
    add = project.proj.add

    def send(count):
        if how == "group":
            return group(add.s(number, 1) for number in range(count)).apply_async()
        return add.starmap_async((number, 1) for number in range(count))

    many, few = calls_of(lambda: send(600)), calls_of(lambda: send(100))
    # 112 and 76 as this is written.
    assert (many - few) / 500 <= {"group": 120, "starmap_async": 85}[how]


def test_delay_leaves_nothing_behind(project):
    noop = project.proj.noop
    for _ in range(200):
        noop.delay()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(500):
        noop.delay()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100


class Selector(selectors.DefaultSelector):
    """Counts the turns of the loop whose selector it is."""

    turns = 0

    def select(self, timeout=None):
        self.turns += 1
        return super().select(timeout)


def test_an_awaited_round_trip_is_a_few_turns_of_the_loop(project, server):
    add, selector = project.proj.add, Selector()

    async def round_trips(count):
        for _ in range(count):
            assert await (await add.adelay(1, 2)).aget(timeout=30) == 3

    with (
        project.worker("-P", "asyncio"),
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner,
    ):
        runner.run(round_trips(CALLS_BEFORE_CONNECTING + 3))
        selector.turns = 0
        server.look()
        runner.run(round_trips(100))
        costs = server.look()
        # One for each of three answers, one for each of two coroutines to go on.
        assert selector.turns / 100 <= 6
        assert costs["subscribe"] == costs["mget"] == 100


# -- working -----------------------------------------------------------------------------


def test_worker_claims_and_acknowledges_in_batches(project, client, server):
    costs = drain(project, client, server, "noop")
    assert costs["reads"] < 0.5
    assert costs["evalsha"] < 0.5
    assert costs["received"] < 250  # acknowledgements, and what the worker does at its start
    assert costs["sent"] < 1200  # the messages


def test_result_is_one_command_more(project, client, server):
    costs = drain(project, client, server, "add", (1, 2))
    assert costs["evalsha"] < 1.5
    assert costs["publish"] < 1.1
    assert costs["reads"] < 1.5
    assert costs["received"] < 700


def test_many_queues_cost_the_server_no_more(project, client, server):
    """What a claim sends does not grow with the number of queues that have messages."""
    queues = [f"{project.queue}-{number}" for number in range(100)]
    app, noop = project.proj.app, project.proj.noop
    with app.producer_pool.acquire(block=True) as producer, app.amqp.batch(producer):
        for number in range(COUNT):
            noop.apply_async(queue=queues[number % 100], producer=producer)
    server.look()
    with project.worker("-c", "2", "-Q", ",".join(queues)):
        wait_until(lambda: not client.exists(*queues) and not client.hlen("unacked"), 60)
        costs = server.look()
    assert costs["received"] / COUNT < 500
    assert costs["evalsha"] / COUNT < 0.5


def test_delivery_of_rabbitmq_calls_few_functions():
    data, channel = b"".join(frames()), Channel()
    # 72 as this is written; py-amqp's own way is ten times that.
    assert calls_of(lambda: Message.delivered(next_delivery(data, 0), channel)) <= 80


def test_an_idle_worker_sleeps(make_project, redis_url, client, server):
    """It is woken for its own heartbeats, and hardly for anything else."""
    # A long lease: how often it is renewed depends on how long the server has been up.
    options = {"broker_transport_options": {"lease": 60}}
    project = make_project(CODE, broker=redis_url, backend=redis_url, conf=options)
    with project.worker("-c", "2", "--heartbeat-interval", "1") as worker:
        marker = publish(project, "noop", count=2)
        wait_until(lambda: drained(project, client, marker), 60)
        pids = [worker.pid, *worker.children()]

        def beats():
            return server.client.info("commandstats")["cmdstat_publish"]["calls"]

        last = beats()
        wait_until(lambda: beats() > last + 1, 60)  # what the tasks have left to do is done
        first, before = beats(), wakeups(pids)
        wait_until(lambda: beats() >= first + 6, 60)
        woken = wakeups(pids) - before
    # For each the timer, and the event itself; now and then a look for messages.
    assert woken <= 14, woken


def test_system_calls_per_task(project, client, tmp_path):
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    with project.worker("-c", "2") as worker:
        warm = publish(project, "noop", count=50)
        wait_until(lambda: drained(project, client, warm), 60)
        warm.unlink()
        report = tmp_path / "strace"
        pids = [option for pid in (worker.pid, *worker.children()) for option in ("-p", str(pid))]
        tracer = subprocess.Popen(
            [strace, "-f", "-c", "-U", "calls,name", "-o", str(report), *pids],
            stderr=subprocess.PIPE,
        )
        try:
            _await_attached(tracer, worker.pid)
            marker = publish(project, "noop")
            wait_until(lambda: drained(project, client, marker), 100)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(20)
    total = int(report.read_text().splitlines()[-1].split()[0])
    # To a child and back two writes and two reads, two lines of the log (it is written with INFO
    # here), the clock where that is a call; claims, acknowledgements and waits are shared.
    assert total / COUNT < 12


def _await_attached(tracer, pid):
    """Wait until a process is traced; skip where that is not allowed."""

    def attached():
        if tracer.poll() is not None:
            pytest.skip(f"no process may be traced here: {tracer.stderr.read().decode()}")
        with open(f"/proc/{pid}/status") as status:
            return "TracerPid:\t0\n" not in status.read()

    wait_until(attached)


# -- starting ----------------------------------------------------------------------------


def test_importing_the_app_class_is_light():
    code = "import sys; from taskq import Celery; Celery; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    loaded = set(done.stdout.split())
    heavy = {
        "amqp",
        "dataclasses",
        "socket",
        "billiard",
        "click",
        "kombu.serialization",
        "redis",
        "sqlite3",
        "asyncio",
    }
    assert not heavy & loaded
