"""Events, gossip and the start of workers across fleets of taskq and Celery."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.project import Project, wait_until
from tests.integration.test_events import (
    CODE,
    CONF,
    FIELDS,
    STATES,
    receiving,
    run_tasks_of_every_end,
    states_after,
)


@pytest.fixture(params=["redis", "amqp"])
def project(request: pytest.FixtureRequest, make_project: Callable[..., Project]) -> Project:
    """A project of both packages: ``proj`` is taskq's, ``cproj`` is Celery's."""
    url = request.getfixturevalue(f"{request.param}_url")
    backend = url if request.param == "redis" else "rpc://"
    # Other tests' workers may be on the same server.
    conf = {**CONF, "event_exchange": f"ev-{id(request)}", "control_exchange": f"ct-{id(request)}"}
    made = make_project(CODE, broker=url, backend=backend, conf=conf)
    made.celery = made.as_package("celery", "cproj")
    return made


@pytest.mark.parametrize(
    ("monitor", "command"), [("celery", "taskq"), ("taskq", "celery")], ids=["celery", "taskq"]
)
def test_monitor_of_one_reads_the_events_of_the_other(
    project: Any, monitor: str, command: str
) -> None:
    proj = project.celery if monitor == "celery" else project.proj
    app = "cproj" if command == "celery" else "proj"
    with receiving(proj.app) as events:
        with project.worker("-c", "2", "--heartbeat-interval", "1", command=command, app=app):
            ids = run_tasks_of_every_end(proj, events)
        wait_until(lambda: any(event["type"] == "worker-offline" for event in events))

    assert {event["type"]: set(event) for event in events} == FIELDS
    assert states_after(proj, events, ids) == STATES


def winner(worker: Any, n: int) -> str | None:
    """Return whom a worker says to have won election ``n``, None while it has not said."""
    own = "t@h" if " t@h ready." in worker.log else "c@h"
    if f"I won the election 'e{n}'" in worker.log:
        return own
    found = re.search(rf"node (\w@h)\S* elected for 'e{n}'", worker.log)
    return found[1] if found else None


def test_workers_of_both_know_each_other_and_elect_one(project: Any) -> None:
    with (
        project.worker("-c", "1", "-n", "t@h", "-l", "DEBUG") as ours,
        project.worker(
            *("-c", "1", "-n", "c@h", "-l", "DEBUG"), command="celery", app="cproj"
        ) as theirs,
    ):
        ours.wait_for_log("c@h joined the party")
        theirs.wait_for_log("t@h joined the party")
        proj = project.proj
        for n in range(5):
            proj.app.control.election(f"e{n}", "task", proj.add.s(20, n).set(task_id=f"id{n}"))
            wait_until(
                lambda n=n: (winner(ours, n) and winner(theirs, n)) or "sort_heap" in theirs.log
            )
            if "sort_heap" in theirs.log:
                # It decides by its own answer when that comes before another's request.
                pytest.xfail("Celery's worker ended by its own error in an election")
            # For the same reason it may elect itself before it has heard of us.
            assert winner(theirs, n) in {winner(ours, n), "c@h"}
            wait_until(lambda n=n: f"[id{n}] succeeded" in ours.log + theirs.log)
        theirs.stop()
        ours.wait_for_log("c@h left")


@pytest.mark.parametrize("first", ["taskq", "celery"])
def test_starting_worker_learns_from_the_other(project: Any, first: str) -> None:
    sides = {"taskq": "proj", "celery": "cproj"}
    second = "celery" if first == "taskq" else "taskq"
    control = project.proj.app.control
    with project.worker("-c", "1", "-n", "1@h", command=first, app=sides[first]):
        control.revoke("some-id", reply=True, timeout=20, limit=1)
        with project.worker("-c", "1", "-n", "2@h", command=second, app=sides[second]) as worker:
            worker.wait_for_log("mingle: sync complete")
            assert "sync with 1@h failed" not in worker.log
            revoked = control.inspect(["2@h"], timeout=20, limit=1).revoked()
            assert revoked == {"2@h": ["some-id"]}
