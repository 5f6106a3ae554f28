"""Workflows run by real workers, on each broker and backend."""

from __future__ import annotations

from contextlib import suppress

import pytest

from taskq.exceptions import ChordError
from tests.integration.conftest import Urls
from tests.integration.project import wait_until
from tests.integration.workflows import (
    CHORDS_FAIL,
    CHORDS_RETURN,
    CODE,
    ERRBACK_CALLS,
    FAILS,
    RETURNS,
    STEPS_RETURN,
    SWAPS_RETURN,
)

#: Broker and backend; a broker alone is its own backend.
PAIRS = [
    "sqlite",
    "redis",
    "amqp+redis",
    "redis+postgres",
    "redis+postgres-counted",
    "amqp+rpc",
    "redis+filesystem",
]


@pytest.fixture(params=PAIRS)
def urls(request, tmp_path):
    broker, _, backend = request.param.partition("+")
    url = request.getfixturevalue(f"{broker}_url")
    backends = {
        "": lambda: url,
        "rpc": lambda: "rpc://",
        "redis": lambda: request.getfixturevalue("redis_url"),
        "postgres": lambda: "db+" + request.getfixturevalue("postgres_url"),
        "postgres-counted": lambda: "db+" + request.getfixturevalue("postgres_url"),
        "filesystem": lambda: f"file://{make(tmp_path / 'results')}",
    }
    return Urls(request.param, url, backends[backend]())


def make(directory):
    directory.mkdir()
    return directory


@pytest.fixture
def proj(make_project, urls):
    """The project's module, with a worker running."""
    project = make_project(
        CODE,
        broker=urls.broker,
        backend=urls.backend,
        conf={
            "result_chord_retry_interval": 0.1,
            "result_backend_transport_options": (
                {"native_chords": True} if urls.name.endswith("-counted") else {}
            ),
        },
    )
    with project.worker("-c", "2", "-n", f"{project.queue}@%h") as worker:
        yield project.proj
        # Shown when the test fails.
        print(worker.log)


def returned(proj, expressions):
    """Return what workflows return when they are run by workers, all at the same time."""
    results = {one: eval(one, dict(vars(proj))).apply_async() for one in expressions}
    return {one: result.get(timeout=60) for one, result in results.items()}


def steps_returned(proj, expressions):
    """Return what each step of chains returns, the last step first."""
    results = {one: eval(one, dict(vars(proj))).apply_async() for one in expressions}
    return {one: [step.get(timeout=60) for step in steps(last)] for one, last in results.items()}


def steps(result):
    while result is not None:
        yield result
        result = result.parent


def test_workflows(proj, urls):
    expected = RETURNS | CHORDS_RETURN | SWAPS_RETURN
    steps_expected = STEPS_RETURN
    if urls.backend.startswith("rpc"):
        expected = RETURNS | without_chords(SWAPS_RETURN)
        steps_expected = without_chords(STEPS_RETURN)
    assert returned(proj, expected) == expected
    assert steps_returned(proj, steps_expected) == steps_expected


def without_chords(expressions):
    """Return the workflows that need none, whatever is replaced in them."""
    return {
        one: value
        for one, value in expressions.items()
        if "chord" not in one and "group" not in one
    }


def test_failures(proj, urls, tmp_path):
    log = tmp_path / "noted"

    def lines():
        return log.read_text().split() if log.exists() else []

    failed = proj.chain(proj.fail.s(), proj.add.s(1)).apply_async(
        link_error=proj.note.si("chain failed".replace(" ", "-"), str(log))
    )
    with pytest.raises(ValueError, match="on purpose"):
        failed.get(timeout=20)
    wait_until(lambda: "chain-failed" in lines())
    if urls.backend.startswith("rpc"):
        return
    chord = proj.chord([proj.fail.s(), proj.add.s(1, 1)], proj.total.s())
    failed = chord.apply_async(link_error=proj.note.si("chord-failed", str(log)))
    # The error of the header, if it is known when this is asked for, else that of the body.
    with pytest.raises((ValueError, ChordError), match="on purpose"):
        failed.get(timeout=20)
    wait_until(lambda: failed.state == "FAILURE")
    assert isinstance(failed.result, ChordError)
    wait_until(lambda: "chord-failed" in lines())
    assert lines().count("chord-failed") == 1


def test_a_failure_ends_the_whole_workflow(proj, urls, tmp_path):
    log = tmp_path / "noted"
    expressions = FAILS if urls.backend.startswith("rpc") else FAILS + CHORDS_FAIL
    results = []
    for number, one in enumerate(expressions):
        errback = proj.note.si(number, str(log))
        workflow = eval(one, dict(vars(proj)))
        if isinstance(workflow, proj.canvas._chain):
            results.append(workflow.apply_async(link_error=errback))
        else:
            workflow.link_error(errback)
            results.append(workflow.apply_async())

    def failed():
        return [one for one, end in zip(expressions, results, strict=True) if has_failed(end)]

    with suppress(AssertionError):
        wait_until(lambda: failed() == expressions)
    assert failed() == expressions
    noted = [
        str(number)
        for number, one in enumerate(expressions)
        for _ in range(ERRBACK_CALLS.get(one, 1))
    ]
    wait_until(lambda: log.exists() and len(log.read_text().split()) >= len(noted))
    assert sorted(log.read_text().split(), key=int) == noted


def has_failed(result):
    return all(member.failed() for member in getattr(result, "results", [result]))


def test_links(proj, urls, tmp_path):
    log = tmp_path / "noted"
    proj.chain(proj.add.s(1, 1), proj.add.s(2)).apply_async(link=proj.note.s(str(log)))
    wait_until(lambda: log.exists() and log.read_text() == "4\n")


def test_every_task_knows_its_place(proj):
    result = proj.chain(proj.place.s(), proj.place.s(), proj.group(proj.place.s(), proj.place.s()))
    result = result.apply_async()
    members = result.get(timeout=20)
    second = result.parent.get(timeout=20)
    first = result.parent.parent.get(timeout=20)
    assert first["root_id"] == first["id"]
    assert (second["root_id"], second["parent_id"]) == (first["id"], first["id"])
    for index, member in enumerate(members):
        assert (member["root_id"], member["parent_id"]) == (first["id"], second["id"])
        assert (member["group"], member["group_index"]) == (result.id, index)


def test_stamps_follow_the_workflow(proj):
    workflow = proj.chain(proj.place.s(), proj.place.s())
    workflow.stamp(customer="c1")
    result = workflow.apply_async()
    assert result.get(timeout=20)["stamps"] == {"customer": "c1"}
    assert result.parent.get(timeout=20)["stamps"] == {"customer": "c1"}
