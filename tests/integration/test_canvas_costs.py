"""What workflows cost: bytes, round trips and memory grow no faster than the number of tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from redis import Redis

from taskq import TaskQ, chain, chord, group
from tests.integration.project import ROOT, Project

CODE = """
@app.task
def add(x, y=1):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)
"""


@pytest.fixture
def client(redis_url):
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def app(redis_url):
    with TaskQ("costs", broker=redis_url, backend=redis_url) as app:

        @app.task(name="add", shared=False)
        def add(x, y=1):
            return x + y

        @app.task(name="total", shared=False)
        def total(numbers):
            return sum(numbers)

        yield app


def bytes_sent(app, client, workflow):
    """Return how many bytes of messages sending a workflow puts into the broker."""
    workflow.apply_async()
    size = sum(map(len, client.lrange("celery", 0, -1)))
    client.delete("celery")
    return size


def branch(app, number):
    """Return a workflow with a chord in a chain."""
    add, total = app.tasks["add"], app.tasks["total"]
    return chain(add.s(number), chord([add.s(1), add.s(2)], total.s()), add.s(3))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda app, n: chain(app.tasks["add"].s(i) for i in range(n)), id="chain"),
        pytest.param(lambda app, n: group(app.tasks["add"].s(i) for i in range(n)), id="group"),
        pytest.param(
            lambda app, n: chord([app.tasks["add"].s(i) for i in range(n)], app.tasks["total"].s()),
            id="chord",
        ),
        pytest.param(
            lambda app, n: group(branch(app, i) for i in range(n)), id="group of branches"
        ),
        pytest.param(
            lambda app, n: chord([branch(app, i) for i in range(n)], app.tasks["total"].s()),
            id="chord of branches",
        ),
        pytest.param(
            lambda app, n: chain(branch(app, i) for i in range(n)), id="chain of branches"
        ),
    ],
)
def test_bytes_grow_with_the_number_of_tasks(app, client, build):
    small, medium, large = (bytes_sent(app, client, build(app, n)) for n in (100, 200, 400))
    # Numbers with more digits take more bytes.
    assert large - medium == pytest.approx(2 * (medium - small), rel=0.05)


@pytest.mark.parametrize(
    "build",
    [
        lambda app: group(app.tasks["add"].s(i) for i in range(2000)),
        lambda app: chord((app.tasks["add"].s(i) for i in range(2000)), app.tasks["total"].s()),
        lambda app: app.tasks["add"].chunks([(i, i) for i in range(2000)], 2),
    ],
    ids=["group", "chord", "chunks"],
)
def test_a_group_is_one_transaction(app, client, build):
    app.tasks["add"].delay(1)
    client.config_resetstat()
    build(app).apply_async()
    calls = {name: stat["calls"] for name, stat in client.info("commandstats").items()}
    assert calls["cmdstat_exec"] == 1
    assert calls["cmdstat_lpush"] <= 4
    assert client.llen("celery") >= 1001
    # What a chord notes about its size, and nothing for each task.
    assert sum(calls.values()) < 20


#: A client that sends groups and forgets them, and says after each round what it still holds.
FORGETFUL = """
import gc
import json
import sys

from taskq import TaskQ, group
from taskq.result import AsyncResult, GroupResult

broker, backend = sys.argv[1:]
app = TaskQ("costs", broker=broker, backend=backend)


@app.task(name="add")
def add(x, y=1):
    return x + y


def held():
    gc.collect()
    handles = sum(isinstance(one, AsyncResult | GroupResult) for one in gc.get_objects())
    # Blocks of memory, for a leaked id is a string, which the collector knows nothing of.
    return {"blocks": sys.getallocatedblocks(), "handles": handles}


for groups in (20, 200, 200):
    for _ in range(groups):
        group(add.s(i) for i in range(10)).apply_async()
    print(json.dumps(held()), flush=True)
"""


@pytest.mark.parametrize("name", ["redis", "sqlite", "rpc"])
def test_groups_that_are_forgotten_leave_nothing_behind(request, tmp_path, name):
    url = request.getfixturevalue(f"{'redis' if name == 'rpc' else name}_url")
    script = tmp_path / "forgetful.py"
    script.write_text(FORGETFUL)
    # A process of its own: nothing else in it makes objects.
    ended = subprocess.run(
        [sys.executable, str(script), url, "rpc://" if name == "rpc" else url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    warm, first, second = map(json.loads, ended.stdout.splitlines())
    assert [warm["handles"], first["handles"], second["handles"]] == [0, 0, 0]
    # A block for each group would be 200, one for each task 2,000.
    assert first["blocks"] - warm["blocks"] < 100
    assert second["blocks"] - first["blocks"] < 100


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def proj(request, tmp_path_factory):
    """The module of a project, with a worker running."""
    directory = tmp_path_factory.mktemp("costs")
    url = f"sqlite:///{directory / 'q.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server")
    project = Project(directory, CODE, broker=url, backend=url)
    with project.worker("-c", "2", "-l", "WARNING", ready=False):
        yield project.proj
    project.close()


def test_a_chain_of_a_thousand(proj):
    assert chain(proj.add.s(0), *[proj.add.s(1)] * 999).apply_async().get(timeout=60) == 1000


def test_a_group_of_ten_thousand(proj):
    result = group(proj.add.s(i) for i in range(10_000)).apply_async()
    assert result.get(timeout=100) == [i + 1 for i in range(10_000)]
    assert json.loads(json.dumps(result.as_tuple()))[0][0] == result.id


def test_a_chord_of_two_thousand(proj):
    header = [proj.add.s(i) for i in range(2000)]
    assert chord(header, proj.total.s()).apply_async().get(timeout=60) == sum(range(1, 2001))
