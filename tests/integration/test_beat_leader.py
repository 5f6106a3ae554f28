"""Several beats of a project: one sends, and no due time is lost or doubled when it dies."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from taskq.beat.leases import Intent, OutboxLease, Run, open_lease
from taskq.beat.leases.sql import SQLLease
from tests.integration.beat_support import kill, running_beat, take_messages
from tests.integration.leader_support import (
    RECORDING,
    assert_each_time_was_sent_once,
    beats,
    last_runs,
    leader,
    run_by_a_worker,
    what_ran,
)
from tests.integration.project import Project, Worker, wait_until

MakeProject = Callable[..., Project]

#: Seconds.
LEASE = 1.0
CONF = {"beat_leader_lease": LEASE, "result_expires": None}

#: All missed times are sent: by default one is for all of them, if a busy machine is so late.
CODE = f"""{RECORDING}
app.conf.beat_leader_name = app.conf.task_default_queue  # databases are shared by tests
app.conf.beat_schedule = {{
    f"e{{number}}": {{"task": "t", "schedule": 1.0, "args": (number,), "catch_up": "all"}}
    for number in range(10)
}}
"""


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def stores(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Broker and backend, one of which keeps the lease."""
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        broker = request.getfixturevalue("amqp_url")
        return {"broker": broker, "backend": f"db+{url}"}
    url = request.getfixturevalue(f"{request.param}_url")
    return {"broker": url, "backend": url}


def test_one_sends_and_another_takes_over(
    make_project: MakeProject, stores: dict[str, Any]
) -> None:
    project = make_project(CODE, **stores, conf=CONF)
    start = beats(project)
    first = start()
    leader(first)
    second = start()
    second.wait_for_log("standing by", 60)
    first.wait_for_log("Sending due task e9")
    assert "Sending due task" not in second.log
    time.sleep(LEASE / 2)
    killed_at = time.monotonic()
    kill(first)
    leader(second)
    assert time.monotonic() - killed_at < LEASE * 2 + 1
    assert "after another beat died" in second.log


def test_a_beat_that_ends_hands_over_at_once(make_project: MakeProject, redis_url: str) -> None:
    project = make_project(
        CODE, broker=redis_url, backend=None, conf={**CONF, "beat_leader_lease": 10}
    )
    start = beats(project)
    first = start()
    leader(first)
    second = start()
    second.wait_for_log("standing by", 60)
    first.stop(signal.SIGTERM)
    begun = time.monotonic()
    leader(second)
    assert time.monotonic() - begun < 5


def test_a_leader_that_slept_sends_nothing_when_it_wakes(
    make_project: MakeProject, stores: dict[str, Any]
) -> None:
    project = make_project(CODE, **stores, conf=CONF)
    start = beats(project)
    first = start()
    leader(first)
    second = start()
    second.wait_for_log("standing by", 60)
    first.wait_for_log("Sending due task e9")
    since = last_runs(project)
    stop(first, stores)
    leader(second)
    time.sleep(2)
    os.kill(first.pid, signal.SIGCONT)
    first.wait_for_log("another beat leads now")
    time.sleep(1)
    for beat in (first, second):
        beat.stop(signal.SIGTERM)
    # Who is stopped while it sends may send it once more when it wakes up.
    by_worker = stores["broker"].startswith("amqp")
    assert_each_time_was_sent_once(project, since, by_worker=by_worker)


def stop(beat: Worker, stores: dict[str, Any]) -> None:
    """Stop a beat, but not while it has locked a file of SQLite, which nobody could take over."""

    def stopped() -> bool:
        os.kill(beat.pid, signal.SIGSTOP)
        if not stores["broker"].startswith("sqlite"):
            return True
        if not _is_locked(stores["broker"].removeprefix("sqlite:///")):
            return True
        os.kill(beat.pid, signal.SIGCONT)
        return False

    wait_until(stopped, 30)


def _is_locked(path: str) -> bool:
    database = sqlite3.connect(path, timeout=0)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    finally:
        database.close()
    return False


@pytest.fixture
def apart(request: pytest.FixtureRequest) -> dict[str, Any]:
    """RabbitMQ, and another place for the lease."""
    url = request.getfixturevalue(f"{request.param}_url")
    backend = f"db+{url}" if request.param == "postgres" else url
    return {"broker": request.getfixturevalue("amqp_url"), "backend": backend}


#: Kills the beat around the third run that it sends, if it is the one to be killed.
KILLED_WHILE_SENDING = """
from amqp.exceptions import AccessRefused
from kombu.transport.pyamqp import Channel

moment = os.environ.get("KILLED", "")
sent = []

def killing(method):
    def call(self, *args, **kwargs):
        sent.append(method)
        if "before" in moment and len(sent) == 3:
            os.kill(os.getpid(), 9)
        done = method(self, *args, **kwargs)
        if "after" in moment and len(sent) == 3:
            os.kill(os.getpid(), 9)
        return done
    return call

def refused(self):
    raise AccessRefused("on purpose")

if moment.startswith("unwitnessed"):
    Channel.tx_select = refused
Channel.tx_commit = killing(Channel.tx_commit)
Channel.basic_publish_confirm = killing(Channel.basic_publish_confirm)
"""


@pytest.mark.parametrize(
    ("apart", "moment"),
    [
        ("postgres", "before"),
        ("postgres", "after"),
        ("postgres", "unwitnessed, after"),
        ("redis", "unwitnessed, after"),
        ("sqlite", "unwitnessed, after"),
    ],
    indirect=["apart"],
)
def test_a_leader_killed_while_it_sends_leaves_nothing_out_and_nothing_runs_twice(
    make_project: MakeProject,
    apart: dict[str, Any],
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project = make_project(KILLED_WHILE_SENDING + CODE, **apart, conf=CONF)
    start = beats(project)
    monkeypatch.setenv("KILLED", moment)
    first = start()
    monkeypatch.delenv("KILLED")
    second = start()
    assert first.process.wait(60) == -signal.SIGKILL
    second.wait_for_log("Sending due task e9")
    second.stop(signal.SIGTERM)
    assert ("it is not known whether" in second.log) is (moment != "after")
    # RabbitMQ knows whether it has the run of a leader that was killed, if it may be asked.
    assert_each_time_was_sent_once(project, {}, by_worker=moment.startswith("unwitnessed"))


@pytest.mark.parametrize("apart", ["postgres"], indirect=True)
def test_a_group_of_which_one_half_was_sent_is_sent_again_and_its_tasks_run_once(
    make_project: MakeProject, apart: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"""{KILLED_WHILE_SENDING}{RECORDING}
from taskq import group
app.conf.beat_leader_name = app.conf.task_default_queue
app.add_periodic_task(1.0, group(t.s(n) for n in range(4)), name="n", catch_up="all")
"""
    project = make_project(code, **apart, conf=CONF)
    start = beats(project)
    monkeypatch.setenv("KILLED", "unwitnessed, after")
    first = start()
    monkeypatch.delenv("KILLED")
    second = start()
    assert first.process.wait(60) == -signal.SIGKILL
    second.wait_for_log("Sending due task n")
    second.stop(signal.SIGTERM)
    count = last_runs(project)["n"].total_run_count
    ran = run_by_a_worker(project, count * 4)
    assert len({task_id for _, task_id in ran}) == len(ran)
    assert Counter(number for number, _ in ran) == dict.fromkeys(range(4), count)


@pytest.mark.parametrize("apart", ["postgres"], indirect=True)
@pytest.mark.parametrize("pool", ["prefork", "asyncio"])
def test_of_two_copies_the_first_is_run_however_often_it_comes(
    make_project: MakeProject, apart: dict[str, Any], pool: str
) -> None:
    function = "async def" if pool == "asyncio" else "def"
    code = f"""
app.conf.beat_leader_name = app.conf.task_default_queue

@app.task(name="t", bind=True, acks_late=True)
{function} t(self, copy):
    with open("ran", "a") as out:
        out.write(f"{{copy}} {{self.request.id}}\\n")
    if copy == 1 and not self.request.retries:
        raise self.retry(countdown=0)

@app.task(name="last")
{function} last(): open("last", "w").close()
"""
    project = make_project(code, **apart, conf=CONF)
    lease = open_lease(project.proj.app)
    assert isinstance(lease, OutboxLease)
    fence = lease.take("me", lease.look())
    assert fence is not None
    for key in ("twice", "once"):
        lease.intend(fence, Intent(key, Run(datetime.now(UTC), 1, key=key), ()))
        lease.settle(fence, lease.intents()[0], twice=key == "twice")
    send = project.proj.app.send_task
    for number in (1, 2):
        send("t", (number,), task_id="a", headers={"taskq_beat_copy": f"twice {number}"})
        send("t", (number,), task_id="b", headers={"taskq_beat_copy": f"once {number}"})
    with project.worker("-P", pool, "-c", "1"):
        wait_until(lambda: what_ran(project).count((1, "a")) == 2)
        send("last")
        wait_until((project.directory / "last").exists)
    # Of a run that cannot have been sent twice nobody asks.
    assert sorted(what_ran(project)) == [(1, "a"), (1, "a"), (1, "b"), (1, "b"), (2, "b")]
    lease.close()


@pytest.mark.parametrize("database", ["postgres", "mysql"])
def test_a_leader_that_hangs_while_it_sends_is_replaced_all_the_same(
    request: pytest.FixtureRequest, database: str, unique: str
) -> None:
    """As one whose machine is gone: nobody closes its transaction, which locks the lease."""
    url = request.getfixturevalue(f"{database}_url")
    engines = [sa.create_engine(url) for _ in range(2)]
    first, second = (SQLLease(engine, lease=1.0, name=unique) for engine in engines)
    fence = first.take("first", first.look())
    assert fence is not None
    seen = second.look()
    in_transaction, woken = threading.Event(), threading.Event()

    @sa.event.listens_for(engines[0], "before_cursor_execute")
    def hang(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO taskq_beat_outbox"):
            in_transaction.set()
            assert woken.wait(60)

    def send() -> None:
        with pytest.raises(sa.exc.DBAPIError):
            first.intend(fence, Intent("n", Run(datetime.now(UTC), 1, key="k"), ()))

    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send)
        assert in_transaction.wait(60)
        try:
            assert second.take("second", seen) == fence + 1
        finally:
            woken.set()
        sending.result(60)
    assert second.intents() == []
    for lease in (first, second):
        lease.close()


def test_what_several_beats_share_needs_a_store(make_project: MakeProject, amqp_url: str) -> None:
    project = make_project(CODE, broker=amqp_url, backend="rpc://", conf={"beat_leader_lease": 5})
    with running_beat(project, wait_for=None) as beat:
        assert beat.process.wait(20) != 0
        assert "beat_leader_lease is set, but neither the broker" in beat.log


def test_the_owner_is_told(make_project: MakeProject, sqlite_url: str) -> None:
    project = make_project(CODE, broker=sqlite_url, backend=None, conf=CONF)
    start = beats(project)
    first = start()
    leader(first)
    second = start()
    second.wait_for_log("standing by", 60)
    owner = re.search(r"leading as (\S+)\.", first.log)
    assert owner is not None
    assert f"{owner[1]} leads" in second.log


def test_what_the_killed_leader_sent_is_still_running(
    make_project: MakeProject, stores: dict[str, Any]
) -> None:
    code = """
    app.conf.beat_schedule = {"n": {"task": "t", "schedule": 0.5, "overlap": "skip"}}
    """
    project = make_project(code, **stores, conf=CONF)
    start = beats(project)
    first, second = start(), start()
    leading = leader(first, second)
    standby = second if leading is first else first
    leading.wait_for_log("n is still running, this run is left out")
    kill(leading)
    leader(standby)
    standby.wait_for_log("n is still running, this run is left out")
    # Nobody works here, so the first run never ends.
    (message,) = take_messages(project)
    project.proj.app.backend.mark_as_done(message.headers["id"], None)
    wait_until(lambda: take_messages(project))
