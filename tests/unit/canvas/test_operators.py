"""What ``|`` and `chain` make of signatures; operands stay as they are."""

from __future__ import annotations

import operator
from functools import reduce

import pytest

from taskq import chain, chord, group
from taskq.canvas import _chain
from tests.unit.canvas.canvas_support import calls_counted


@pytest.fixture
def s(tasks):
    """Short names: a(n) for add.s(n), t() for total.s()."""
    tasks.a = tasks.add.s
    tasks.m = tasks.mul.s
    tasks.t = tasks.total.s
    return tasks


def steps(sig):
    return list(sig.tasks)


def test_task_then_task(s):
    assert steps(s.a(1) | s.m(2)) == [s.a(1), s.m(2)]


def test_chains_are_joined(s):
    assert steps(s.a(1) | (s.a(2) | s.a(3))) == [s.a(1), s.a(2), s.a(3)]
    assert steps((s.a(1) | s.a(2)) | (s.a(3) | s.a(4))) == [s.a(1), s.a(2), s.a(3), s.a(4)]
    assert steps(chain(s.a(1), chain(s.a(2), chain(s.a(3), s.a(4))))) == [
        s.a(1),
        s.a(2),
        s.a(3),
        s.a(4),
    ]


def test_group_then_task_is_a_chord(s):
    made = group(s.a(1), s.a(2)) | s.t()
    assert made == chord(group(s.a(1), s.a(2)), s.t())
    assert steps(s.a(0) | group(s.a(1), s.a(2)) | s.t()) == [s.a(0), made]


def test_chord_then_task_goes_on_in_the_body(s):
    made = chord([s.a(1), s.a(2)], s.t()) | s.m(2)
    assert made.subtask_type == "chord"
    assert steps(made.body) == [s.t(), s.m(2)]
    longer = made | s.m(3)
    assert steps(longer.body) == [s.t(), s.m(2), s.m(3)]
    assert steps(made.body) == [s.t(), s.m(2)]


def test_chord_then_chain_is_a_chain(s):
    first = chord([s.a(1), s.a(2)], s.t())
    assert steps(first | chain(s.m(2), s.m(3))) == [first, s.m(2), s.m(3)]


def test_chord_then_group_is_a_chain(s):
    first, last = chord([s.a(1)], s.t()), group(s.a(1), s.a(2))
    assert steps(first | last) == [first, last]
    # Once something follows the group, the body of the chord goes on with both.
    assert steps((first | last | s.t()).tasks[0].body) == [s.t(), chord(last, s.t())]


def test_group_then_group_is_a_chord(s):
    made = group(s.a(1), s.a(2)) | group(s.t(), s.t())
    assert made.body == group(s.t(), s.t())


def test_groups_of_one_task_are_that_task(s):
    assert steps(s.a(1) | group(s.a(2))) == [s.a(1), s.a(2)]
    assert steps(chain(s.a(1), s.a(2)) | group(s.a(3))) == [s.a(1), s.a(2), s.a(3)]


def test_empty_groups_and_chains_add_nothing(s):
    assert steps(chain(s.a(1), s.a(2)) | group()) == [s.a(1), s.a(2)]
    assert steps(chain(s.a(1), s.a(2)) | chain()) == [s.a(1), s.a(2)]
    assert steps(chain([s.a(1), group(), s.a(2)])) == [s.a(1), s.a(2)]
    assert group(s.a(1), s.a(2)) | group() == group(s.a(1), s.a(2))


def test_a_chain_led_by_a_group_is_a_chord(s):
    header = group([s.a(1), s.a(2)])
    assert chain([header, s.t()]) == header | s.t()
    assert chain([header]) == header


def test_nested_groups_in_a_chain(s):
    made = chain(group(s.a(1), s.a(2)), s.t(), group(s.a(3), s.a(4)), s.t(), s.m(2))
    (outer,) = made.tasks
    first, inner = outer.body.tasks
    assert first == s.t()
    assert steps(inner) == [s.a(3), s.a(4)]
    assert steps(inner.body) == [s.t(), s.m(2)]


def test_links_of_a_chain_go_to_its_steps(s):
    linked = chain(s.a(1), s.a(2)).set(link=[s.m(9)], link_error=[s.err.s()], countdown=3)
    first, second, third = (linked | s.a(3)).tasks
    assert first.options == {"link_error": [s.err.s()]}
    assert second.options == {"link": [s.m(9)], "link_error": [s.err.s()]}
    assert third.options == {}
    assert linked.options["countdown"] == 3


def test_options_given_to_chain_keep_the_steps_as_they_are(s):
    made = chain(group(s.a(1)), s.t(), queue="q")
    assert steps(made) == [group(s.a(1)), s.t()]
    assert made.options == {"queue": "q"}


def test_chain_of_one_iterable(s):
    expected = [s.a(1), s.a(2)]
    assert steps(chain(expected)) == expected
    assert steps(chain(sig for sig in expected)) == expected
    assert steps(chain(dict(sig) for sig in expected)) == expected
    assert steps(_chain(sig for sig in expected)) == expected


@pytest.mark.parametrize("wrong", [None, 3, "text"])
def test_steps_must_be_signatures(s, wrong):
    with pytest.raises(TypeError, match="must be a signature"):
        chain(s.a(1), wrong)


def test_a_chord_without_body_cannot_go_on(s):
    with pytest.raises(TypeError, match="body"):
        chord([s.a(1)]) | s.t()


def test_operands_do_not_share_steps_with_the_result(s):
    first, second = s.a(1), s.a(2)
    short = first | second
    long = short | s.a(3) | s.a(4)
    longer = long | s.a(5)
    long.tasks[0].set(queue="q")
    long.freeze()
    longer.freeze()
    assert first.options == second.options == {}
    assert longer.tasks[0].id != long.tasks[0].id
    assert "queue" not in longer.tasks[0].options


def test_results_of_one_operand_do_not_share_steps(s):
    base = s.a(1) | s.a(2) | s.a(3)
    one, two = base | s.m(1), base | s.m(2)
    assert one.freeze().id != two.freeze().id
    ids = {step.id for made in (one, two) for step in made.tasks}
    assert len(ids) == 8


def test_chords_made_of_one_do_not_share_their_header(s):
    base = group(s.a(1), s.a(2)) | s.t()
    one, two = base | s.m(1), base | s.m(2)
    one.tasks[0].set(queue="q")
    one.body.tasks[0].set(queue="q")
    assert two.tasks[0].options == {}
    assert two.body.tasks[0].options == {}


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda s, n: chain(s.a(i) for i in range(n)), id="chain"),
        pytest.param(lambda s, n: reduce(operator.or_, [s.a(i) for i in range(n)]), id="or"),
        pytest.param(
            lambda s, n: chain([group(s.a(1), s.a(2)), *[s.a(i) for i in range(n)]]),
            id="chord with a long body",
        ),
        pytest.param(
            lambda s, n: reduce(
                operator.or_, [s.a(i) for i in range(n)], group(s.a(1), s.a(2)) | s.t()
            ),
            id="chord, step by step",
        ),
        pytest.param(lambda s, n: group(s.a(i) for i in range(n)) | s.t() | s.m(), id="header"),
    ],
)
def test_work_grows_with_the_number_of_steps(s, build):
    build(s, 2)  # what is imported and cached on first use
    work = []
    for size in (100, 200, 400):
        with calls_counted() as count:
            build(s, size)
        work.append(count[0])
    # A few calls more or less are not the building's: the garbage collector runs when it likes.
    assert work[2] - work[1] <= 2.2 * (work[1] - work[0]) + 20
