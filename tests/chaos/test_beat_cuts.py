"""A leading beat loses its broker again and again: each due time is sent, and run once.

An answer that is lost is the hard case: the broker has the message, and beat doesn't know it.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from kombu.utils.url import url_to_parts

from tests.chaos.proxy import Proxy
from tests.integration.leader_support import (
    RECORDING,
    assert_each_time_was_sent_once,
    beats,
    last_runs,
    leader,
)
from tests.integration.project import Project, wait_until

MakeProject = Callable[..., Project]

CUTS = 20 if os.environ.get("TASKQ_CHAOS") == "long" else 3
ENTRIES = 20
CODE = f"""{RECORDING}
app.conf.broker_url = os.environ.get("BROKER", app.conf.broker_url)
app.conf.beat_leader_name = app.conf.task_default_queue
app.conf.beat_schedule = {{
    f"e{{number}}": {{"task": "t", "schedule": 1.0, "args": (number,), "catch_up": "all"}}
    for number in range({ENTRIES})
}}
"""
#: Broker -> what beat says when it sends a task.
WORDS = {"redis": b"EXEC", "amqp": b"taskq_beat_copy"}
CONF = {"beat_leader_lease": 2.0, "result_expires": None}


@pytest.fixture
def project(make_project: MakeProject, request: pytest.FixtureRequest) -> Project:
    """The lease in Redis, which is the broker too; or beside RabbitMQ in PostgreSQL."""
    broker = request.getfixturevalue(f"{request.param}_url")
    backend = f"db+{request.getfixturevalue('postgres_url')}" if request.param == "amqp" else None
    return make_project(CODE, broker=broker, backend=backend, conf=CONF)


def proxied(project: Project) -> tuple[Proxy, str]:
    """Return a proxy for the project's broker, and the broker's URL by way of it."""
    parts = url_to_parts(project.broker)
    proxy = Proxy((parts.hostname, parts.port))
    user = f"{parts.username}:{parts.password}@" if parts.username else ""
    return proxy, f"{parts.scheme}://{user}127.0.0.1:{proxy.port}/{parts.path}"


def counted(project: Project) -> int:
    """Return how many runs are written down."""
    return sum(run.total_run_count for run in last_runs(project).values())


@pytest.mark.parametrize("project", ["redis", "amqp"], indirect=True)
def test_connections_that_break_at_any_moment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = proxied(project)
    chance = random.Random(7)
    monkeypatch.setenv("BROKER", url)
    beat = beats(project)()
    leader(beat)
    monkeypatch.delenv("BROKER")
    wait_until(lambda: len(last_runs(project)) == ENTRIES, 60)
    since = last_runs(project)
    for _ in range(CUTS):
        proxy.lose_answer(to=WORDS[project.broker.split(":")[0]])
        wait_until(lambda: proxy.has_lost_answer, 60)
    for _ in range(CUTS):
        time.sleep(chance.uniform(0.05, 0.4))
        proxy.cut()
    proxy.refuse()
    time.sleep(1)
    proxy.accept()
    goal = counted(project) + ENTRIES
    wait_until(lambda: counted(project) >= goal, 60)
    beat.stop()
    proxy.close()
    assert_each_time_was_sent_once(project, since, by_worker=project.broker.startswith("amqp"))
    # Told once each time, for the messages and for the lease.
    assert beat.log.count("cannot reach") <= 2 * (2 * CUTS + 1)


@pytest.mark.parametrize("project", ["amqp"], indirect=True)
def test_a_leader_whose_broker_does_not_answer_is_replaced(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = proxied(project)
    start = beats(project)
    monkeypatch.setenv("BROKER", url)
    first = start()
    leader(first)
    monkeypatch.delenv("BROKER")
    second = start()
    second.wait_for_log("standing by")
    wait_until(lambda: len(last_runs(project)) == ENTRIES, 60)
    since = last_runs(project)
    proxy.hold()
    leader(second)
    second.wait_for_log("Sending due task e9")
    proxy.release()
    first.wait_for_log("another beat leads now")
    for beat in (first, second):
        beat.stop()
    proxy.close()
    assert_each_time_was_sent_once(project, since, by_worker=project.broker.startswith("amqp"))
