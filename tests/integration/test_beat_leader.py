"""Several beats of a project: one sends, and no due time is lost or doubled when it dies."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.beat_support import kill, running_beat, start_beat, take_messages
from tests.integration.project import Project, Worker, wait_until

MakeProject = Callable[..., Project]

#: Seconds.
LEASE = 1.0
CONF = {"beat_leader_lease": LEASE, "result_expires": None}

CODE = """
app.conf.beat_schedule = {
    f"e{number}": {"task": "t", "schedule": 1.0, "args": (number,)} for number in range(10)
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


def beats(project: Project) -> Callable[[], Worker]:
    """Return a function that starts one more beat."""
    count = iter(range(1000))

    def start() -> Worker:
        name = f"beat{next(count)}"
        return start_beat(project, "-s", name, name=name)

    return start


def leader(*candidates: Worker) -> Worker:
    """Wait until one of them leads, and return it."""

    def leading() -> Worker | None:
        for beat in candidates:
            if beat.process.poll() is None and _leads(beat):
                return beat
        return None

    return wait_until(leading, 15)


def _leads(beat: Worker) -> bool:
    return beat.log.rfind("beat: leading as") > beat.log.rfind("standing by")


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
    time.sleep(LEASE)
    os.kill(first.pid, signal.SIGSTOP)
    leader(second)
    time.sleep(2)
    os.kill(first.pid, signal.SIGCONT)
    first.wait_for_log("another beat leads now")
    time.sleep(1)
    for beat in (first, second):
        beat.stop(signal.SIGTERM)
    _assert_each_time_was_sent_once(project)


def test_what_several_beats_share_needs_a_store(make_project: MakeProject, amqp_url: str) -> None:
    project = make_project(CODE, broker=amqp_url, backend="rpc://", conf={"beat_leader_lease": 5})
    with running_beat(project, wait_for=None) as beat:
        assert beat.process.wait(20) != 0
        assert "beat_leader_lease is set, but neither the broker" in beat.log


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_no_due_time_is_lost_or_doubled_while_leaders_are_killed(
    make_project: MakeProject, request: pytest.FixtureRequest, broker: str
) -> None:
    """Short form; ``TASKQ_BEAT_KILLS`` sets the number of kills (20 in the long one)."""
    kills = int(os.environ.get("TASKQ_BEAT_KILLS", "3"))
    code = CODE.replace("range(10)", "range(50)")
    url = request.getfixturevalue(f"{broker}_url")
    project = make_project(code, broker=url, backend=None, conf=CONF)
    start = beats(project)
    alive = [start(), start()]
    leading = leader(*alive)
    for number in range(kills):
        standby = next(beat for beat in alive if beat is not leading)
        standby.wait_for_log("standing by")
        # At every phase of the second, in the middle of sending too.
        time.sleep(1.5 + (number % 7) / 7)
        kill(leading)
        alive = [standby, start()]
        leading = leader(*alive)
    time.sleep(2.5)
    for beat in alive:
        beat.stop(signal.SIGTERM)
    _assert_each_time_was_sent_once(project)


def _assert_each_time_was_sent_once(project: Project) -> None:
    """Each entry was sent as often as it was counted, and in step with all others."""
    messages = take_messages(project)
    ids = Counter(message.headers["id"] for message in messages)
    doubled = {id_: count for id_, count in ids.items() if count > 1}
    assert not doubled
    sent = Counter(message.payload[0][0] for message in messages)
    runs = _runs(project)
    assert len(runs) == len(sent)
    for name, run in runs.items():
        assert sent[int(name[1:])] == run.total_run_count, name
    # A second after the other from the first to the last: none was passed over.
    lasts = {name: run.last_run_at for name, run in runs.items()}
    counts = {run.total_run_count for run in runs.values()}
    assert max(counts) - min(counts) <= 1, counts
    assert (max(lasts.values()) - min(lasts.values())).total_seconds() < 2


def _runs(project: Project) -> dict[str, Any]:
    from taskq.beat.leases import open_lease

    lease = open_lease(project.proj.app)
    try:
        return lease.runs()
    finally:
        lease.close()


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
