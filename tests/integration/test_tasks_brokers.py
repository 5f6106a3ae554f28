"""What tasks may do, through real workers, on each broker: retries, rejections, revokes, time."""

from __future__ import annotations

import datetime as dt
import socket
import struct
import time
import zoneinfo
from zoneinfo import ZoneInfo

import pytest

from taskq import group
from taskq.exceptions import TaskRevokedError
from taskq.signals import before_task_publish
from tests.integration.project import wait_until

CODE = """
from taskq import Task
from taskq.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

app.conf.accept_content = ["json", "pickle", "yaml", "spaced"]

import json
from kombu.serialization import register
register("spaced", lambda value: "  " + json.dumps(value), json.loads,
         content_type="application/x-spaced", content_encoding="utf-8")

@app.task
def add(x, y):
    return x + y

@app.task(acks_late=True, bind=True)
def late(self, how):
    redelivered = self.request.delivery_info["redelivered"]
    if how == "requeue" and not redelivered:
        raise Reject("again", requeue=True)
    if how == "reject":
        raise Reject("no")
    return bool(redelivered)

class Steady(Task):
    name = "steady"
    serializer = "spaced"
    priority = 5
    max_retries = 3

    def run(self, x):
        request = self.request
        here = request.delivery_info["routing_key"] == app.conf.task_default_queue
        print(f"TRY {request.retries} {request.id} {request.delivery_info['priority']} {here} "
              f"{request.headers} {request.stamps} {len(request.chain)}")
        if request.retries < 2:
            raise self.retry(exc=ValueError("not yet"), countdown=0.1)
        return x * 10

steady = app.register_task(Steady())

@app.task(bind=True, soft_time_limit=0.4, max_retries=1)
def limited(self):
    if self.request.retries:
        return "second"
    try:
        time.sleep(10)
    except SoftTimeLimitExceeded as exc:
        raise self.retry(exc=exc, countdown=0)

@app.task
def sleep(seconds):
    time.sleep(seconds)
    return "slept"

@app.task(bind=True)
def progress(self, fail=False):
    self.update_state(state="PROGRESS", meta={"half": True})
    if fail:
        raise KeyError("failed")
    return "done"

@app.task
def clock():
    return time.time()

"""


@pytest.fixture
def project(make_project, urls):
    return make_project(CODE, broker=urls.broker, backend=urls.backend)


@pytest.fixture
def proj(project):
    return project.proj


def test_a_class_retries_inside_a_chain_with_its_own_serializer(project, proj):
    with project.worker("-c", "2") as worker:
        steady = proj.steady.s().set(headers={"mine": 1})
        workflow = proj.add.s(1, 1) | steady | proj.add.s(1)
        workflow.stamp(who="me")
        chain = workflow.apply_async()
        assert chain.get(timeout=20) == 21
        tries = [line for line in worker.log.splitlines() if "TRY" in line]
        assert len(tries) == 3
        assert len({line.partition("TRY")[2].split()[1] for line in tries}) == 1, "the id stays"
        for number, line in enumerate(tries):
            assert f"TRY {number} " in line
            assert " 5 True " in line, "priority and queue stay"
            assert "{'mine': 1} {'who': 'me'} 1" in line, "headers, stamps and chain stay"


def test_a_soft_limit_is_caught_and_becomes_a_retry(project, proj):
    with project.worker("-c", "1") as worker:
        assert proj.limited.delay().get(timeout=20) == "second"
        assert "Soft time limit (0.4s) exceeded for proj.limited[" in worker.log


def test_rejections_with_late_acknowledgement(project, proj, urls):
    with project.worker("-c", "1"):
        assert proj.late.delay("requeue").get(timeout=20) is True
        rejected = proj.late.delay("reject")
        with pytest.raises(Exception, match="no"):
            rejected.get(timeout=20)
        assert rejected.state == "FAILURE"


def test_revoked_while_waiting_scheduled_and_running(project, proj, urls):
    with project.worker("-c", "1") as worker:
        running = proj.sleep.delay(30)
        worker.wait_for_log(f"[{running.id}] received")
        waiting = proj.add.delay(1, 1)
        # Held by the worker, or by the broker, as each of them can.
        held = proj.add.apply_async((1, 1), countdown=3)
        stamped = proj.add.apply_async((1, 1), stamped_headers=["who"], who="x", countdown=3)
        time.sleep(0.5)
        waiting.revoke()
        held.revoke()
        proj.app.control.revoke_by_stamped_headers({"who": ["x"]})
        time.sleep(0.5)
        running.revoke(terminate=True)
        for result, reason in [
            (running, "terminated"), (waiting, "revoked"), (held, "revoked"), (stamped, "revoked"),
        ]:  # fmt: skip
            with pytest.raises(TaskRevokedError, match=reason):
                result.get(timeout=20)
            assert result.state == "REVOKED"
        assert proj.add.delay(2, 2).get(timeout=20) == 4


def test_a_running_task_is_revoked_by_stamp(project, proj):
    with project.worker("-c", "1") as worker:
        result = proj.sleep.apply_async((30,), stamped_headers=["who"], who="x")
        worker.wait_for_log(f"[{result.id}] received")
        time.sleep(0.5)
        proj.app.control.revoke_by_stamped_headers({"who": "x"}, terminate=True)
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=20)
        assert proj.add.delay(2, 2).get(timeout=20) == 4


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_tasks_in_the_hands_of_a_process_are_revoked(make_project, redis_url, pool):
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    proj = project.proj
    with project.worker("-c", "1", "-P", pool) as worker:
        # Calls of tasks that are known to be short are given to a process while it runs others.
        for result in [proj.sleep.delay(0) for _ in range(60)]:
            result.get(timeout=20)
        running = proj.sleep.delay(3)
        stamped = [proj.sleep.apply_async((0,), stamped_headers=["who"], who="x") for _ in range(3)]
        by_id = proj.sleep.delay(0)
        left_alone = proj.sleep.apply_async((0,), stamped_headers=["who"], who="y")
        worker.wait_for_log(f"[{left_alone.id}] received")
        proj.app.control.revoke_by_stamped_headers({"who": ["x"]})
        by_id.revoke()
        for result in (*stamped, by_id):
            with pytest.raises(TaskRevokedError, match="revoked"):
                result.get(timeout=20)
        assert running.get(timeout=20) == "slept"
        assert left_alone.get(timeout=20) == "slept"


def test_a_deferred_task_is_revoked_when_it_comes_back(make_project, urls):
    conf = {"worker_defer_eta": 0.1}
    project = make_project(CODE, broker=urls.broker, backend=urls.backend, conf=conf)
    proj = project.proj
    with project.worker("-c", "1") as worker:
        # On SQLite it is not delivered before its time at all.
        result = proj.add.apply_async((1, 1), countdown=4)
        result.revoke()
        worker.wait_for_log("Tasks flagged as revoked")
        with pytest.raises(TaskRevokedError, match="revoked"):
            result.get(timeout=20)


def test_revokes_are_known_to_workers_that_start_later(project, proj, tmp_path):
    state = str(tmp_path / "state.db")
    with project.worker("-c", "1", "--statedb", state, "-n", "first@%h"):
        result = proj.add.apply_async((1, 1), countdown=4)
        time.sleep(0.3)
        result.revoke()
        time.sleep(0.7)
        # A worker that starts beside it asks its neighbours.
        with project.worker("-c", "1", "-n", "second@%h", "-Q", "other"):
            name = f"second@{socket.gethostname()}"
            inspect = proj.app.control.inspect([name], timeout=3)
            known = wait_until(inspect.revoked, message="the second worker does not answer")
            assert result.id in known[name]
    # The state file outlives both.
    with project.worker("-c", "1", "--statedb", state, "-n", "third@%h", "--without-mingle"):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=20)


#: Rate limits as they may be written, and executions per second.
RATES = {"10": 10, "2.5": 2.5, "'20/s'": 20, "'120/m'": 2, "'7200/h'": 2}


# The limits are the consumer's, whatever the pool.
@pytest.mark.parametrize(
    ("urls", "pool"),
    [("sqlite", "prefork"), ("redis", "prefork"), ("amqp", "prefork"), ("redis", "threads")],
    indirect=["urls"],
)
def test_rate_limits_hold_and_never_block_others(make_project, urls, pool):
    tasks = "".join(
        f"""
@app.task(rate_limit={text})
def rate_{number}():
    return {number}
"""
        for number, text in enumerate([*RATES, "'5/h'", "None"])
    )
    project = make_project(CODE + tasks, broker=urls.broker, backend=urls.backend)
    proj = project.proj
    with project.worker("-c", "2", "-P", pool):
        # Many more than the worker would prefetch, the like of which it starts every 12 minutes.
        hourly = [proj.rate_5.delay() for _ in range(40)]
        sent = time.monotonic()
        limited = {
            rate: [getattr(proj, f"rate_{number}").delay() for _ in range(4)]
            for number, rate in enumerate(RATES.values())
        }
        assert proj.rate_6.delay().get(timeout=20) == 6, "nobody waits for them"
        for rate, results in limited.items():
            for result in results:
                result.get(timeout=20)
            assert time.monotonic() - sent >= 3 / rate
        assert sum(result.ready() for result in hourly) <= 1
        # What waits in the worker may run as soon as the limit is lifted.
        reply = proj.app.control.rate_limit("proj.rate_5", "x/y", reply=True, timeout=10, limit=1)
        assert "x/y" in str(reply), "an error that shows the value"
        reply = proj.app.control.rate_limit("proj.rate_5", "200/s", reply=True, timeout=10, limit=1)
        assert "new rate limit set" in str(reply)
        wait_until(lambda: sum(result.ready() for result in hourly) >= 2)
        reply = proj.app.control.rate_limit("proj.rate_5", 0, reply=True, timeout=10, limit=1)
        assert "disabled" in str(reply)


def waiting_on(app, *queues) -> int:
    """Return how many messages are ready in these queues of RabbitMQ."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        return sum(channel.queue_declare(name, passive=True).message_count for name in queues)


def test_thousands_of_limited_tasks_on_rabbitmq_keep_nobody_waiting(
    make_project, amqp_url, redis_url
):
    code = """
@app.task(rate_limit="1/h")
def seldom():
    return "ran"

@app.task
def free(x):
    return x
"""
    project = make_project(code, broker=amqp_url, backend=redis_url)
    proj = project.proj
    queue = project.queue
    limited = group(proj.seldom.s() for _ in range(1100))().results
    with project.worker("-c", "1"):
        for number in range(3):
            assert proj.free.delay(number).get(timeout=20) == number
        assert proj.app.control.inspect(timeout=5).stats()
        wait_until(lambda: waiting_on(proj.app, queue) == 0)
    ran = sum(result.ready() for result in limited)
    assert ran <= 1
    # None is lost: they are in their queue, or in one that they leave for it.
    assert waiting_on(proj.app, queue, f"taskq.limited.{queue}.proj.seldom") == 1100 - ran


def test_limited_tasks_leave_a_fixed_prefetch_count_to_others(make_project, amqp_url, redis_url):
    code = """
@app.task(rate_limit="20/s", bind=True)
def limited(self, number):
    with open("ran", "a") as file:
        print(number, file=file)
    return self.request.headers

@app.task
def free(x):
    return x
"""
    conf = {"task_default_queue_type": "quorum", "worker_detect_quorum_queues": True}
    project = make_project(code, broker=amqp_url, backend=redis_url, conf=conf)
    proj = project.proj
    results = [
        proj.limited.apply_async((number,), compression="zlib", headers={"mine": number})
        for number in range(30)
    ]
    with project.worker("-c", "1"):
        assert proj.free.delay(1).get(timeout=20) == 1
        assert sum(result.ready() for result in results) < 30
        seen = [result.get(timeout=30)["mine"] for result in results]
    assert seen == list(range(30))
    ran = (project.directory / "ran").read_text().split()
    assert sorted(map(int, ran)) == list(range(30)), "each once"


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "UTC"])
def test_etas_in_any_zone(make_project, urls, zone):
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={"timezone": zone},
    )
    proj = project.proj
    with project.worker("-c", "1"):
        due = time.time() + 1.5
        aware = dt.datetime.fromtimestamp(due, ZoneInfo("Asia/Kolkata"))
        # Naive times are UTC, whatever the zone of the app.
        naive = dt.datetime.fromtimestamp(due, dt.UTC).replace(tzinfo=None)
        results = [proj.clock.apply_async(eta=aware), proj.clock.apply_async(eta=naive)]
        for result in results:
            assert due - 0.01 <= result.get(timeout=20) < due + 1.5
        with pytest.raises(TaskRevokedError, match="expired"):
            proj.clock.apply_async(expires=naive - dt.timedelta(hours=1)).get(timeout=20)
        assert proj.clock.apply_async(expires=aware + dt.timedelta(hours=1)).get(timeout=20)


def test_etas_in_the_hours_that_a_clock_change_skips_and_repeats(make_project, sqlite_url):
    project = make_project(
        CODE, broker=sqlite_url, backend=sqlite_url, conf={"timezone": "Europe/Berlin"}
    )
    proj = project.proj
    berlin = ZoneInfo("Europe/Berlin")
    sent = {}

    def keep(headers, **kwargs):
        sent[headers["id"]] = dt.datetime.fromisoformat(headers["eta"])

    before_task_publish.connect(keep)
    try:
        for eta, moment in [
            # 2:30 is skipped in March; the zone database takes the time before the change.
            (dt.datetime(2030, 3, 31, 2, 30), dt.datetime(2030, 3, 31, 1, 30)),
            (dt.datetime(2030, 3, 31, 3, 30), dt.datetime(2030, 3, 31, 1, 30)),
            # 2:30 comes twice in October.
            (dt.datetime(2030, 10, 27, 2, 30), dt.datetime(2030, 10, 27, 0, 30)),
            (dt.datetime(2030, 10, 27, 2, 30, fold=1), dt.datetime(2030, 10, 27, 1, 30)),
        ]:
            result = proj.clock.apply_async(eta=eta.replace(tzinfo=berlin))
            assert sent[result.id] == moment.replace(tzinfo=dt.UTC)
    finally:
        before_task_publish.disconnect(keep)


def write_zone(path, moment: int, before: int, after: int) -> None:
    """Write a time zone whose clocks change at unix time ``moment``.

    - before, after: seconds east of UTC.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kinds = struct.pack(">lBBlBB", before, 0, 0, after, 1, 4)
    names = b"OLD\0NEW\0"
    counts = struct.pack(">6l", 0, 0, 0, 1, 2, len(names))
    data = b""
    for number in "l", "q":
        data += b"TZif2" + bytes(15) + counts
        data += struct.pack(f">{number}B", moment, 1) + kinds + names
    path.write_bytes(data + b"\n\n")


@pytest.mark.parametrize(("before", "after"), [(0, 3600), (7200, 3600)], ids=["gap", "fold"])
def test_etas_while_the_clocks_change(
    make_project, sqlite_url, tmp_path, monkeypatch, before, after
):
    change = int(time.time()) + 4
    zones = tmp_path / "zones"
    write_zone(zones / "Test" / "Changing", change, before, after)
    monkeypatch.setenv("PYTHONTZPATH", str(zones))
    monkeypatch.setenv("TZ", f":{zones}/Test/Changing")
    zoneinfo.reset_tzpath([str(zones), *zoneinfo.TZPATH])
    try:
        project = make_project(
            CODE, broker=sqlite_url, backend=sqlite_url, conf={"timezone": "Test/Changing"}
        )
        proj = project.proj
        zone = ZoneInfo("Test/Changing")
        wall = dt.datetime.fromtimestamp(change, dt.UTC).replace(tzinfo=zone)
        old, new = (wall + dt.timedelta(seconds=offset) for offset in (before, after))
        second = dt.timedelta(seconds=1)
        with project.worker("-c", "1"):
            if before < after:
                # The first second that the change skips, and the first after it: the same moment.
                etas = [(old + second, change + 1), (new + second, change + 1)]
            else:
                # The second after the change, which was there an hour before already.
                etas = [((new + second).replace(fold=1), change + 1), (new + second, change - 3599)]
            results = [(proj.clock.apply_async(eta=eta), due) for eta, due in etas]
            later = proj.clock.apply_async(countdown=change + 2 - time.time())
            for result, due in results:
                assert result.get(timeout=20) >= due - 0.01
            assert later.get(timeout=20) >= change + 1.9
    finally:
        zoneinfo.reset_tzpath()


def test_the_other_pools_do_the_same(make_project, urls):
    pool = "solo" if urls.name == "redis" else "threads"
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    proj = project.proj
    with project.worker("-c", "2", "-P", pool) as worker:
        sent = time.time()
        later = proj.clock.apply_async(countdown=1, expires=60)
        steady = proj.steady.s().set(headers={"mine": 1})
        workflow = proj.add.s(1, 1) | steady | proj.add.s(1)
        workflow.stamp(who="me")
        chain = workflow.apply_async()
        assert chain.get(timeout=20) == 21
        assert worker.log.count("{'mine': 1} {'who': 'me'} 1") == 3
        assert proj.late.delay("requeue").get(timeout=20) is True
        with pytest.raises(Exception, match="no"):
            proj.late.delay("reject").get(timeout=20)
        with pytest.raises(KeyError):
            proj.progress.delay(fail=True).get(timeout=20)
        seen = []
        progress = proj.progress.delay()
        assert progress.get(timeout=20, on_message=seen.append) == "done"
        mine = [message for message in seen if message["task_id"] == progress.id]
        assert mine[-1]["status"] == "SUCCESS"
        linked = proj.add.apply_async((1, 1), link=proj.add.s(5))
        linked.get(timeout=20)
        if urls.name != "amqp":
            assert linked.children[0].get(timeout=20) == 7
        with pytest.raises(TaskRevokedError, match="expired"):
            proj.add.apply_async((1, 1), expires=-1).get(timeout=20)
        revoked = proj.add.apply_async((1, 1), countdown=2)
        revoked.revoke()
        with pytest.raises(TaskRevokedError, match="revoked"):
            revoked.get(timeout=20)
        assert later.get(timeout=20) >= sent + 0.9
        assert proj.add.apply_async((1, 1), soft_time_limit=9).get(timeout=20) == 2
        worker.wait_for_log(f"The {pool} pool can't enforce the time limits of task proj.add")


@pytest.mark.parametrize(("broker", "order"), [("redis", [0, 3, 9]), ("amqp", [9, 3, 0])])
def test_urgent_messages_come_first(make_project, request, broker, order):
    url = request.getfixturevalue(f"{broker}_url")
    backend = request.getfixturevalue("redis_url")
    conf = {"worker_prefetch_multiplier": 1}
    if broker == "amqp":
        conf["task_queue_max_priority"] = 10
    project = make_project(CODE, broker=url, backend=backend, conf=conf)
    proj = project.proj
    sent = [(priority, proj.clock.apply_async(priority=priority)) for priority in (3, 9, 0)]
    with project.worker("-c", "1"):
        started = sorted((result.get(timeout=20), priority) for priority, result in sent)
    assert [priority for _, priority in started] == order


def test_scheduled_tells_of_tasks_that_wait_for_their_time(make_project, urls):
    project = make_project(CODE, broker=urls.broker, backend=urls.backend)
    proj = project.proj
    with project.worker("-c", "1", "-n", "w@h"):
        sent = [
            proj.add.apply_async((1, number), {}, countdown=seconds)
            # Some are near enough to be held by the worker, whatever the broker.
            for number, seconds in enumerate([3600, 60, 2, 600])
        ]
        proj.add.apply_async((9, 9), queue=f"{project.queue}-other", countdown=900)
        inspect = proj.app.control.inspect(["w@h"], timeout=10)

        def told():
            return {item["request"]["id"]: item for item in inspect.scheduled()["w@h"]}

        wait_until(lambda: told().keys() >= {result.id for result in sent if result is not sent[2]})
        first = told()
        assert all(
            item["request"]["name"] == proj.add.name
            and item["request"]["args"] == [1, number]
            and item["request"]["hostname"] == "w@h"
            and item["request"]["time_start"] is None
            and dt.datetime.fromisoformat(item["eta"]).tzinfo
            for number, result in enumerate(sent)
            if (item := first.get(result.id))
        )
        assert len(first) <= len(sent)
        assert sent[2].get(timeout=30) == 3
        wait_until(lambda: set(told()) == {sent[0].id, sent[1].id, sent[3].id})
