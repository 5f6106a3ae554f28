"""Workflows run here and now."""

from __future__ import annotations

import pytest

from taskq import chain, chord, group
from taskq.canvas import _chain


@pytest.fixture
def s(tasks):
    """Short names: a(n) for add.s(n), t() for total.s()."""
    tasks.a = tasks.add.s
    tasks.m = tasks.mul.s
    tasks.t = tasks.total.s
    return tasks


@pytest.fixture(params=["apply", "always eager"])
def run(request, app):
    """Return a function that runs a workflow and returns its result handle."""
    if request.param == "apply":
        return lambda sig, *args, **options: sig.apply(args, **options)
    app.conf.task_always_eager = True
    return lambda sig, *args, **options: sig.apply_async(args, **options)


def test_chain(run, s):
    result = run(chain(s.a(2), s.m(3)), 1)
    assert result.get() == 9
    assert result.parent.get() == 3


def test_immutable_steps_leave_the_result_out(run, s):
    assert run(chain(s.a(1, 2), s.add.si(5, 5), s.m(3))).get() == 30


def test_group(run, s):
    result = run(group(s.a(1), chain(s.a(2), s.m(3)), group(s.a(4))), 1)
    assert result.get() == [2, 9, 5]
    assert [member.get() for member in result.results] == [2, 9, 5]


def test_chord(run, s):
    result = run(chord([s.a(1), s.a(2)], s.t() | s.m(2)), 1)
    assert result.get() == 10
    assert result.parent.get() == 5
    assert result.parent.parent.get() == [2, 3]


def test_a_chain_of_nothing_but_empty_groups(app, run, s):
    assert run(_chain(group(), group(), app=app)).get() == []
    assert run(group(_chain(group()), s.a(1, 1))).get() == [[], 2]


def test_chord_of_nothing(run, s):
    assert run(chord([], s.t())).get() == 0


def test_groups_joined_in_a_chain(run, s):
    workflow = _chain(s.a(1), group(s.a(1), s.a(2)), group(s.t(), s.t()), s.t())
    assert run(workflow, 1).get() == 14


def test_group_at_the_end(run, s):
    result = run(chain(s.a(1), group(s.a(1), s.a(2))), 1)
    assert result.get() == [3, 4]
    assert result.parent.get() == 2


def test_ids(run, s):
    assert run(s.a(1), 1, task_id="mine").id == "mine"
    assert run(chain(s.a(1), s.a(2)), 1, task_id="mine").id == "mine"
    assert run(group(s.a(1), s.a(2)), 1, task_id="mine").id == "mine"
    assert run(chord([s.a(1), s.a(2)], s.t()), 1, task_id="mine").id == "mine"


def test_links_are_called(app, s):
    app.conf.task_always_eager = True
    called = []

    @app.task(name="note", shared=False)
    def note(value):
        called.append(value)

    s.a(1).set(link=[note.s()]).apply_async((1,))
    chain(s.a(1), s.a(2)).apply_async((1,), link=note.s())
    chord([s.a(1), s.a(2)], s.t()).set(link=[note.s()]).apply_async((1,))
    assert called == [2, 4, 5]


def test_a_failure_ends_a_chain(run, s):
    with pytest.raises(ValueError, match="on purpose"):
        run(chain(s.fail.s(), s.a(1))).get()
    result = run(chain(s.a(1, 1), s.fail.s()))
    assert result.state == "FAILURE"


def test_a_failure_fails_a_chord(run, s):
    with pytest.raises(ValueError, match="on purpose"):
        run(chord([s.fail.s(), s.a(1, 1)], s.t())).get()


def test_maps_and_chunks(run, s):
    assert run(s.add.map([1, 2])).get() == [2, 3]
    assert run(s.add.starmap([(1, 2), (3, 4)])).get() == [3, 7]


def test_chunks(app, s):
    app.conf.task_always_eager = True
    assert s.add.chunks([(1, 2), (3, 4), (5, 6)], 2)().get() == [[3, 7], [11]]


def test_called_directly(s):
    assert chord([s.a(1, 1)], s.t()).apply().get() == 2
    assert group(s.a(1, 1)).apply().get() == [2]
