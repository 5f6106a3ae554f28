"""Workflows of one library run by workers of the other, and by both at once."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Urls
from tests.integration.workflows import CHORDS_RETURN, CODE, RETURNS, SWAPS_RETURN

#: Client package and worker commands.
FLEETS = {
    "taskq to celery": ("taskq", ["celery"]),
    "celery to taskq": ("celery", ["taskq"]),
    "taskq to both": ("taskq", ["taskq", "celery"]),
    "celery to both": ("celery", ["taskq", "celery"]),
}


@pytest.fixture(params=["redis", "amqp"])
def urls(request):
    broker = request.getfixturevalue(f"{request.param}_url")
    return Urls(request.param, broker, request.getfixturevalue("redis_url"))


@pytest.fixture(params=FLEETS)
def fleet(request, make_project, urls):
    """The client's module, with a fleet of workers running."""
    client, commands = FLEETS[request.param]
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        # Neither worker takes all tasks of a header.
        conf={"worker_prefetch_multiplier": 1},
    )
    celery = project.as_package("celery", "cproj")
    for command in commands:
        project.start_worker(
            "-c",
            "1",
            "-n",
            f"{command}-{project.queue}@%h",
            command=command,
            app="cproj" if command == "celery" else "proj",
        )
    return request.param, celery if client == "celery" else project.proj


#: A header with a group in it, which Celery sends in another order than it is written.
REORDERED = "chord([group(add.s(1, 2), add.s(3, 4)), add.s(5, 6)], echo.s())"


def returned(proj, expression):
    workflow = eval(expression, dict(vars(proj)))
    return workflow.apply_async().get(timeout=30)


def test_workflows(fleet):
    name, proj = fleet
    expected = RETURNS | CHORDS_RETURN | SWAPS_RETURN
    if name.startswith("celery"):
        del expected[REORDERED]
    assert {expression: returned(proj, expression) for expression in expected} == expected


def test_both_workers_run_tasks_of_a_header(fleet):
    name, proj = fleet
    header = [proj.pid.s() for _ in range(40)]
    pids = set(proj.chord(header, proj.echo.s()).apply_async().get(timeout=30)[0])
    assert len(pids) == (2 if name.endswith("both") else 1)
