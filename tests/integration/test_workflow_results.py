"""Handles on workflows that real workers run: groups, what tasks led to, stamps, priorities."""

from __future__ import annotations

import io

import pytest

from taskq import chain, chord, group
from taskq.canvas import StampingVisitor
from taskq.result import GroupResult, ResultSet, result_from_tuple
from tests.integration.project import Project, wait_until

CODE = """
@app.task
def add(x, y=1):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task(bind=True)
def seen(self, *args):
    info, request = self.request.delivery_info or {}, self.request
    return {"priority": info.get("priority"), "stamps": request.stamps or {},
            "stamped": sorted(request.stamped_headers or []), "eta": request.eta is not None}

@app.task(bind=True)
def becomes_seen(self):
    raise self.replace(seen.s())

@app.task
def note(value, path):
    with open(path, "a") as file:
        file.write(f"{value}\\n")
"""


@pytest.fixture(scope="module", params=["redis", "sqlite", "redis+postgres", "amqp+rpc"])
def proj(request, tmp_path_factory):
    """The module of a project, with a worker running."""
    directory = tmp_path_factory.mktemp("results")
    addresses = {
        "redis": lambda: request.getfixturevalue("redis_server"),
        "sqlite": lambda: f"sqlite:///{directory / 'q.db'}",
        "amqp": lambda: request.getfixturevalue("amqp_url"),
        "postgres": lambda: "db+" + request.getfixturevalue("postgres_url"),
        "rpc": lambda: "rpc://",
    }
    broker, _, backend = request.param.partition("+")
    project = Project(
        directory,
        CODE,
        broker=addresses[broker](),
        backend=addresses[backend or broker](),
        conf={"task_inherit_parent_priority": True, "result_chord_retry_interval": 0.1},
    )
    with project.worker("-c", "2"):
        yield project.proj
    project.close()


def is_rpc(proj):
    return type(proj.app.backend).__name__ == "RPCBackend"


def test_the_ways_to_get_a_group(proj):
    sent = [group(proj.add.s(i) for i in range(6)).apply_async() for _ in range(4)]
    expected = [1, 2, 3, 4, 5, 6]
    assert sent[0].get(timeout=20) == expected
    assert sent[1].join(timeout=20) == expected
    if sent[2].supports_native_join:
        assert sent[2].join_native(timeout=20) == expected
        assert sorted(meta["result"] for _, meta in sent[3].iter_native()) == expected
    assert sent[0].completed_count() == 6
    assert sent[0].successful()
    assert (
        ResultSet(sent[0].results + sent[1].results, app=proj.app).get(timeout=20) == expected * 2
    )


def test_groups_in_groups(proj):
    result = group(proj.add.s(1), chain(proj.add.s(2), group(proj.add.s(3), proj.add.s(4))))
    assert result.apply_async().get(timeout=20) == [2, [6, 7]]


def test_saved_restored_deleted(proj):
    result = group(proj.add.s(1), proj.add.s(2)).apply_async()
    assert result.get(timeout=20) == [2, 3]
    if is_rpc(proj):
        with pytest.raises(NotImplementedError):
            result.save()
        return
    result.save()
    assert GroupResult.restore(result.id, app=proj.app).get(timeout=20) == [2, 3]
    result.delete()
    assert GroupResult.restore(result.id, app=proj.app) is None


def test_a_revoked_group(proj):
    workflow = group(proj.add.s(1), chain(proj.add.s(2), proj.add.s(3)))
    ids = {member.id for member in workflow.freeze().results}
    proj.app.GroupResult("revoked", [proj.app.AsyncResult(one) for one in ids]).revoke()

    def known():
        answers = proj.app.control.inspect(limit=1, timeout=5).revoked() or {}
        return any(ids <= set(revoked) for revoked in answers.values())

    if is_rpc(proj):
        return  # RabbitMQ is shared: somebody else's worker may answer first
    wait_until(known)
    result = workflow.apply_async()
    wait_until(lambda: all(member.state == "REVOKED" for member in result.results))


def test_what_a_workflow_led_to(proj):
    if is_rpc(proj):
        return  # It keeps a result for whoever reads it first.
    last = chain(proj.add.s(1), proj.add.s(2), group(proj.add.s(3), proj.add.s(4))).apply_async()
    assert last.get(timeout=20) == [7, 8]
    first = last.parent.parent
    wait_until(lambda: first.children)
    values = [value for _, value in first.collect(timeout=20)]
    assert values[:2] == [2, 4]
    assert sorted(value for value in values[2:] if not isinstance(value, list)) == [7, 8]
    drawn = io.StringIO()
    first.graph.to_dot(drawn)
    assert drawn.getvalue().count(first.id) >= 2
    single = chain(proj.add.s(1), proj.add.s(2), proj.add.s(3)).apply_async()
    assert single.get(timeout=20) == 7
    assert single.parent.parent.get_leaf() == 7


def test_a_handle_made_again(proj):
    result = chain(proj.add.s(1), proj.add.s(2)).apply_async()
    again = result_from_tuple(result.as_tuple(), app=proj.app)
    assert again.get(timeout=20) == 4
    assert again.parent.id == result.parent.id


class Visitor(StampingVisitor):
    """Stamps each part with the word for what it is."""

    def on_signature(self, sig, **headers):
        return {"signature": sig.task.rpartition(".")[2], "stamped_headers": ["signature"]}

    def on_callback(self, callback, **headers):
        return {"callback": True, "stamped_headers": ["callback"]}


def test_stamps_of_a_visitor(proj):
    workflow = chain(proj.seen.s(), group(proj.seen.s(), proj.seen.s()))
    workflow.stamp(visitor=Visitor(), customer="c1")
    result = workflow.apply_async()
    for stamped in (*result.get(timeout=20), result.parent.get(timeout=20)):
        assert (
            stamped["stamps"]["signature"] == ["seen"] or stamped["stamps"]["signature"] == "seen"
        )


def test_stamps_are_those_of_the_task(proj):
    result = chain(proj.seen.s().stamp(customer="c1"), proj.seen.s()).apply_async()
    assert result.get(timeout=20)["stamps"] == {}
    assert result.parent.get(timeout=20)["stamps"] == {"customer": "c1"}
    replaced = proj.becomes_seen.s().stamp(customer="c1").apply_async()
    assert replaced.get(timeout=20)["stamps"] == {"customer": "c1"}


def test_priorities_are_inherited(proj):
    result = chain(proj.seen.s().set(priority=4), proj.seen.s()).apply_async()
    assert result.get(timeout=20)["priority"] == 4
    assert result.parent.get(timeout=20)["priority"] == 4


def test_options_of_a_workflow(proj):
    first_only = chain(proj.seen.s(), proj.seen.s()).apply_async(countdown=0.1)
    assert (first_only.parent.get(timeout=20)["eta"], first_only.get(timeout=20)["eta"]) == (
        True,
        False,
    )
    skewed = group(proj.seen.s() for _ in range(3)).skew(start=0, stop=0.2, step=0.1)
    assert [task.options["countdown"] for task in skewed.tasks] == [0, 0.1, 0.2]
    assert [one["eta"] for one in skewed.apply_async().get(timeout=20)] == [False, True, True]
    if is_rpc(proj):
        with pytest.raises(NotImplementedError):
            chord([proj.add.s(1)], proj.total.s()).apply_async()
        return
    body = chord([proj.seen.s()], proj.seen.s()).apply_async(countdown=0.1)
    assert (body.get(timeout=20)["eta"], body.parent.get(timeout=20)[0]["eta"]) == (False, True)


def test_links_of_every_kind(proj, tmp_path):
    kinds = {
        "task": proj.add.s(1),
        "chain": chain(proj.add.s(1), proj.add.s(2)),
        "group": group(proj.add.s(1), proj.add.s(2)),
    }
    if not is_rpc(proj):
        kinds["chord"] = chord([proj.add.s(1)], proj.total.s())
    for name, workflow in kinds.items():
        workflow.link(proj.note.si(name, str(tmp_path / name)))
        workflow.apply_async()
    wait_until(lambda: all((tmp_path / name).exists() for name in kinds))
    assert {name: (tmp_path / name).read_text() for name in kinds} == {k: f"{k}\n" for k in kinds}
