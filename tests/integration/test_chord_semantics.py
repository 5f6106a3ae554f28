"""What a chord promises about its header: counted once, errbacks, tasks added while it runs."""

from __future__ import annotations

from collections import Counter

import pytest

from taskq.exceptions import ChordError
from tests.integration.conftest import Urls
from tests.integration.project import Project, wait_until

CODE = """
from taskq import chord, group

@app.task
def add(x, y=1):
    return x + y

@app.task
def fail(x):
    raise ValueError("on purpose")

@app.task(bind=True, max_retries=5)
def flaky(self, number):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return number

@app.task
def total(numbers, name=""):
    note("body " + name)
    return sum(numbers)

@app.task
def errback(failed_id, name):
    note("errback " + name)

@app.task(bind=True)
def adds_another(self, x):
    self.add_to_chord(add.s(x, 100))
    return x

def note(text):
    with open("notes", "a") as notes:
        notes.write(text + "\\n")
"""

#: Broker and backend; whether header tasks are counted by the backend.
SETUPS = ["redis", "sqlite", "redis+postgres", "amqp+redis"]


@pytest.fixture(scope="module", params=SETUPS)
def project(request, tmp_path_factory):
    """A project with a worker running, for all tests of the module."""
    broker, _, backend = request.param.partition("+")
    directory = tmp_path_factory.mktemp("chords")
    addresses = {
        "redis": lambda: request.getfixturevalue("redis_server"),
        "sqlite": lambda: f"sqlite:///{directory / 'q.db'}",
        "amqp": lambda: request.getfixturevalue("amqp_url"),
        "postgres": lambda: "db+" + request.getfixturevalue("postgres_url"),
    }
    urls = Urls(request.param, addresses[broker](), addresses[backend or broker]())
    project = Project(
        directory,
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={
            "task_allow_error_cb_on_chord_header": True,
            "result_chord_retry_interval": 0.1,
            "result_backend_transport_options": {},
        },
    )
    with project.worker("-c", "2"):
        yield project
    project.close()


def notes(project):
    path = project.directory / "notes"
    return Counter(path.read_text().splitlines() if path.exists() else [])


def test_a_header_task_that_retries_is_counted_once(project):
    proj = project.proj
    header = [proj.flaky.s(1), proj.add.s(1, 1), proj.flaky.s(3)]
    result = proj.chord(header, proj.total.s(name="retried")).apply_async()
    assert result.get(timeout=30) == 6
    assert notes(project)["body retried"] == 1


def test_errbacks_of_the_header_are_called_if_that_is_allowed(project):
    proj = project.proj
    workflow = proj.chord([proj.fail.s(1), proj.add.s(1, 1), proj.fail.s(2)], proj.total.s())
    workflow.link_error(proj.errback.s("header"))
    result = workflow.apply_async()
    # For each of the two that fail, and once for the body.
    wait_until(lambda: notes(project)["errback header"] == 3)
    wait_until(result.failed)
    assert isinstance(result.result, ChordError)


def test_tasks_may_be_added_to_a_header_that_runs(project):
    proj = project.proj
    workflow = proj.chord([proj.adds_another.s(1), proj.add.s(1, 1)], proj.total.s(name="added"))
    if "postgres" in project.backend:
        with pytest.raises(
            (NotImplementedError, ChordError), match="does not support add_to_chord"
        ):
            workflow.apply_async().get(timeout=30)
        return
    assert workflow.apply_async().get(timeout=30) == 1 + 2 + 101
    assert notes(project)["body added"] == 1


def test_results_are_in_the_order_of_the_header(project):
    proj = project.proj
    header = [proj.flaky.s(n) if n % 3 else proj.add.s(n, 0) for n in range(9)]
    result = proj.chord(header, proj.group(proj.total.s(), proj.total.s())).apply_async()
    assert result.get(timeout=30) == [36, 36]
    # Those that retried ended last.
    assert result.parent.get(timeout=30) == list(range(9))
