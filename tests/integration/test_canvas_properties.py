"""Workflows made up at random return the same whether they run here or on a worker.

``TASKQ_CHAOS=long`` makes up many more.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.project import Project
from tests.unit.canvas.made_up import leaves, workflows

CODE = """
@app.task
def flat(value, plus=0):
    return plus + leaves(value)

def leaves(value):
    return sum(map(leaves, value)) if isinstance(value, list) else value
"""

EXAMPLES = 400 if os.environ.get("TASKQ_CHAOS") == "long" else 20


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def flat(request, tmp_path_factory):
    """The task of a project, with a worker running."""
    directory = tmp_path_factory.mktemp("made-up")
    url = f"sqlite:///{directory / 'q.db'}"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server")
    project = Project(directory, CODE, broker=url, backend=url)
    with project.worker("-c", "2") as worker:
        yield project.proj.flat
        # Shown when a test fails.
        print(worker.log[-20000:])
    project.close()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_workers_return_what_is_returned_here(flat, data):
    workflow, returns = data.draw(workflows(flat))
    here = workflow.apply((1,)).get()
    assert leaves(here) == leaves(returns(1))
    assert workflow.apply_async((1,)).get(timeout=60) == here
