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


#: Fleets with their brokers and backends. In a database chords are polled, by either worker.
SETUPS = [
    *((name, broker, "redis") for broker in ("redis", "amqp") for name in FLEETS),
    ("taskq to both", "redis", "postgres"),
    ("celery to both", "redis", "postgres"),
]


@pytest.fixture(params=SETUPS, ids="-".join)
def setup(request):
    """Names of a fleet, its broker and its backend."""
    return request.param


@pytest.fixture
def urls(request, setup):
    _, broker, backend = setup
    prefix = "db+" if backend == "postgres" else ""
    return Urls(
        broker,
        request.getfixturevalue(f"{broker}_url"),
        prefix + request.getfixturevalue(f"{backend}_url"),
    )


@pytest.fixture
def fleet(setup, make_project, urls):
    """The client's module, with a fleet of workers running."""
    name = setup[0]
    client, commands = FLEETS[name]
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        # Neither worker takes all tasks of a header.
        conf={"worker_prefetch_multiplier": 1, "result_chord_retry_interval": 0.2},
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
    return name, celery if client == "celery" else project.proj


#: A header with a group in it, which Celery sends in another order than it is written.
REORDERED = "chord([group(add.s(1, 2), add.s(3, 4)), add.s(5, 6)], echo.s())"


def returned(proj, expressions):
    """Return what workflows return when they are run by workers, all at the same time."""
    results = {one: eval(one, dict(vars(proj))).apply_async() for one in expressions}
    return {one: result.get(timeout=60) for one, result in results.items()}


def test_workflows(fleet):
    name, proj = fleet
    expected = RETURNS | CHORDS_RETURN | SWAPS_RETURN
    if name.startswith("celery"):
        del expected[REORDERED]
    assert returned(proj, expected) == expected


def test_both_workers_run_tasks_of_a_header(fleet):
    name, proj = fleet
    header = [proj.pid.s() for _ in range(40)]
    pids = set(proj.chord(header, proj.echo.s()).apply_async().get(timeout=30)[0])
    assert len(pids) == (2 if name.endswith("both") else 1)
