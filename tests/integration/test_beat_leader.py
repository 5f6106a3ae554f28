"""Several beats of a project: one sends, and no due time is lost or doubled when it dies."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from taskq.beat.leases import Run
from taskq.beat.leases.sql import SQLLease
from tests.integration.beat_support import kill, running_beat, take_messages
from tests.integration.leader_support import (
    assert_each_time_was_sent_once,
    beats,
    last_runs,
    leader,
)
from tests.integration.project import Project, Worker, wait_until

MakeProject = Callable[..., Project]

#: Seconds.
LEASE = 1.0
CONF = {"beat_leader_lease": LEASE, "result_expires": None}

#: All missed times are sent: by default one is for all of them, if a busy machine is so late.
CODE = """
app.conf.beat_schedule = {
    f"e{number}": {"task": "t", "schedule": 1.0, "args": (number,), "catch_up": "all"}
    for number in range(10)
}
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
    second.wait_for_log("standing by")
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
    second.wait_for_log("standing by")
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
    second.wait_for_log("standing by")
    first.wait_for_log("Sending due task e9")
    since = last_runs(project)
    stop_between_two_sends(first, stores)
    leader(second)
    time.sleep(2)
    os.kill(first.pid, signal.SIGCONT)
    first.wait_for_log("another beat leads now")
    time.sleep(1)
    for beat in (first, second):
        beat.stop(signal.SIGTERM)
    assert_each_time_was_sent_once(project, since)


def stop_between_two_sends(beat: Worker, stores: dict[str, Any]) -> None:
    """Stop a beat that has no transaction open: who is stopped in one sends that message twice."""

    def stopped() -> bool:
        os.kill(beat.pid, signal.SIGSTOP)
        if not _has_transaction(stores):
            return True
        os.kill(beat.pid, signal.SIGCONT)
        return False

    wait_until(stopped, 30)


def _has_transaction(stores: dict[str, Any]) -> bool:
    """Return whether anybody has a transaction open in the store of the lease."""
    if stores["backend"].startswith("db+"):
        engine = sa.create_engine(stores["backend"].removeprefix("db+"))
        with engine.connect() as connection:
            busy = connection.execute(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND state <> 'idle'"
                )
            ).scalar_one()
        engine.dispose()
        return bool(busy)
    if stores["backend"].startswith("sqlite"):
        database = sqlite3.connect(stores["backend"].removeprefix("sqlite:///"), timeout=0)
        try:
            database.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        finally:
            database.close()
    return False  # Redis executes it as a whole, or not at all.


@pytest.mark.parametrize("database", ["postgres", "mysql"])
def test_a_leader_that_hangs_while_it_sends_is_replaced_all_the_same(
    request: pytest.FixtureRequest, database: str
) -> None:
    """As one whose machine is gone: nobody closes its transaction, which locks the lease."""
    url = request.getfixturevalue(f"{database}_url")
    first, second = (SQLLease(sa.create_engine(url), lease=1.0) for _ in range(2))
    fence = first.take("first", first.look())
    assert fence is not None
    seen = second.look()
    publishing, woken = threading.Event(), threading.Event()

    class Hanging:
        def basic_publish(self, message: object, **_: object) -> None:
            publishing.set()
            assert woken.wait(60)

    def send() -> None:
        message = ("", "", "")
        with pytest.raises(sa.exc.DBAPIError):
            first.commit(fence, "n", Run(datetime.now(UTC), 1), [message], Hanging())

    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(send)
        assert publishing.wait(60)
        try:
            assert second.take("second", seen) == fence + 1
        finally:
            woken.set()
        sending.result(60)
    assert "n" not in second.runs()
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
    second.wait_for_log("standing by")
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
