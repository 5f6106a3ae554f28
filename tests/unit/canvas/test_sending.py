"""What workflows send, with which ids; nothing else runs."""

from __future__ import annotations

import json

import pytest
from kombu.serialization import loads

from taskq import chain, chord, group, signature
from taskq.canvas import _chain
from tests.unit.canvas.canvas_support import calls_counted, sent


@pytest.fixture
def s(tasks):
    """Short names: a(n) for add.s(n), t() for total.s()."""
    tasks.a = tasks.add.s
    tasks.m = tasks.mul.s
    tasks.t = tasks.total.s
    return tasks


def ids(result):
    """Return the ids of a result and of those that lead to it, the last first."""
    found = []
    while result is not None:
        found.append(result.id)
        result = result.parent
    return found


# -- chains ------------------------------------------------------------------------------


def test_a_chain_is_sent_as_its_first_task(app, s):
    result = chain(s.echo.s(1), s.m(2), s.a(3)).apply_async((5,), {"k": 1})
    (message,) = sent(app)
    last, middle, first = ids(result)
    assert (message.id, message.args, message.kwargs) == (first, [5, 1], {"k": 1})
    rest = message.embed["chain"]
    assert [(step["task"], step["options"]["task_id"]) for step in rest] == [
        ("add", last),
        ("mul", middle),
    ]


def test_options_of_a_chain(app, s):
    result = chain(s.a(1), s.a(2)).apply_async(
        task_id="last", queue="other", link=s.m(9), link_error=s.err.s(), root_id="r", parent_id="p"
    )
    (message,) = sent(app, "other")
    assert result.id == "last"
    assert (message.headers["root_id"], message.headers["parent_id"]) == ("r", "p")
    assert message.embed["callbacks"] is None
    assert [errback["task"] for errback in message.embed["errbacks"]] == ["err"]
    (last,) = message.embed["chain"]
    assert last["options"]["task_id"] == "last"
    assert "queue" not in last["options"]
    assert last["options"]["link"][0]["task"] == "mul"
    assert last["options"]["link_error"][0]["task"] == "err"


def test_a_chain_can_be_sent_again(app, s):
    workflow = chain(s.a(1), group(s.a(1), s.a(2)), s.t())
    first, second = workflow.apply_async(), workflow.apply_async()
    assert not set(ids(first)) & set(ids(second))
    assert workflow.id is None


def test_freezing_tells_the_ids_that_are_sent(app, s):
    for workflow in (
        chain(s.a(1), s.a(2)),
        chain(s.a(1), group(s.a(1), s.a(2)), s.t()),
        group(s.a(1), s.a(2)),
        group(chain(s.a(1), s.a(2)), s.a(1)),
        chord([s.a(1), s.a(2)], s.t()),
        chord([s.a(1), s.a(2)], chain(s.t(), s.m(2))),
    ):
        frozen = workflow.freeze()
        assert ids(workflow.apply_async()) == ids(frozen)


def test_an_empty_chain_sends_nothing(app):
    assert chain(app=app).apply_async() is None
    assert chain(app=app)() is None
    assert chain(app=app).freeze() is None
    assert sent(app) == []


def test_chains_in_chains_are_taken_apart(app, s):
    nested = _chain(s.a(1), _chain(s.a(2), _chain(s.a(3))), s.a(4))
    nested.apply_async()
    (message,) = sent(app)
    assert [step["args"] for step in message.embed["chain"]] == [[4], [3], [2]]


def test_what_remains_of_an_outer_chain_follows(app, s):
    # A worker that comes to a chain passes on what follows it, last step first.
    chain(s.a(1), s.a(2)).apply_async(chain=[dict(s.m(9)), dict(s.m(8))])
    (message,) = sent(app)
    assert [step["args"] for step in message.embed["chain"]] == [[9], [8], [2]]


def test_a_group_followed_by_what_remains_is_joined_once(app, s):
    group(s.a(1), s.a(2)).apply_async(chain=[dict(s.m(9)), dict(s.t())], task_id="g")
    first, second = sent(app)
    assert first.headers["group"] == second.headers["group"] == "g"
    assert first.embed["chord"]["task"] == "total"
    assert [step["args"] for step in first.embed["chord"]["options"]["chain"]] == [[9]]


def test_steps_can_be_linked_instead(app, s):
    # As the first protocol does, which knows no chains.
    result = _chain(s.a(1), s.a(2), s.a(3), use_link=True).apply_async()
    (message,) = sent(app)
    assert message.embed["chain"] is None
    (second,) = message.embed["callbacks"]
    (third,) = second["options"]["link"]
    assert [second["args"], third["args"]] == [[2], [3]]
    assert third["options"]["task_id"] == result.id


# -- groups ------------------------------------------------------------------------------


def test_tasks_of_a_group(app, s):
    result = group(s.a(1), s.a(2)).apply_async((5,), queue="celery", priority=3)
    first, second = sent(app)
    assert [first.id, second.id] == [member.id for member in result.results]
    assert first.headers["group"] == second.headers["group"] == result.id
    assert (first.headers["group_index"], second.headers["group_index"]) == (0, 1)
    assert (first.args, second.args) == ([5, 1], [5, 2])


def test_groups_in_groups_are_merged_in_order(app, s):
    nested = group([group([group(s.a(0)), s.a(1)]), s.a(2), group(s.a(3), s.a(4))])
    result = nested.apply_async()
    messages = sent(app)
    assert [message.args for message in messages] == [[0], [1], [2], [3], [4]]
    assert [message.headers["group_index"] for message in messages] == [0, 1, 2, 3, 4]
    assert [message.id for message in messages] == [member.id for member in result.results]


def test_the_last_step_of_a_chain_is_the_member_of_the_group(app, s):
    result = group(chain(s.a(1), s.a(2)), s.a(3)).apply_async()
    first, _ = sent(app)
    assert (first.headers["group"], first.headers["group_index"]) == (None, None)
    (last,) = first.embed["chain"]
    assert (last["options"]["group_id"], last["options"]["group_index"]) == (result.id, 0)


def test_an_empty_group(app):
    assert group(app=app).apply_async().results == []
    assert sent(app) == []


def test_a_chain_of_nothing_but_empty_groups_is_an_empty_group(app):
    assert _chain(group(), group(), app=app).apply_async().get() == []
    assert _chain(group(), app=app).freeze().results == []
    assert sent(app) == []


def test_a_header_that_ends_in_nothing_is_not_waited_for(app, s):
    chord([_chain(group()), group()], s.t()).apply_async()
    (body,) = sent(app)
    assert (body.task, body.args) == ("total", [[[]]])


def test_what_leads_to_an_empty_group_is_sent(app, s):
    chord([chord([s.a(1)], group())], s.t()).apply_async()
    assert [(message.task, message.args) for message in sent(app)] == [
        ("add", [1]),
        ("total", [[[]]]),
    ]


@pytest.mark.parametrize("send", ["apply_async", "apply", "freeze"])
def test_a_chord_must_end_in_something(s, send):
    with pytest.raises(TypeError, match="the body must have tasks"):
        getattr(chord([s.a(1)], chain()), send)()


def test_groups_have_no_links(s):
    with pytest.raises(TypeError, match="use a chord"):
        group(s.a(1)).apply_async(link=s.a(2))
    with pytest.raises(TypeError, match="individual tasks"):
        group(s.a(1)).apply_async(link_error=s.a(2))


def test_linking_a_group(s):
    workflow = group(s.a(1), s.a(2))
    linked = workflow.link(s.m(3))
    workflow.link_error(s.err.s())
    assert linked == s.mul.si(3)
    assert workflow.tasks[0].options == {"link": [linked], "link_error": [s.err.s()]}
    assert workflow.tasks[1].options == {"link_error": [s.err.s()]}


def test_skew(s):
    workflow = group(s.a(1), s.a(2), s.a(3)).skew(start=1, stop=3, step=2)
    assert [task.options["countdown"] for task in workflow.tasks] == [1, 3, 3]


def test_a_generator_is_read_when_the_group_is_sent(app, s):
    read = []

    def tasks():
        for number in range(3):
            read.append(number)
            yield s.a(number)

    workflow = group(tasks())
    assert read == []
    workflow.apply_async()
    assert len(sent(app)) == 3


def test_members_given_as_dicts(app, s):
    workflow = group([dict(s.a(1)), dict(chain(s.a(2), s.a(3)))], app=app)
    workflow.apply_async()
    assert [message.args for message in sent(app)] == [[1], [2]]


# -- chords ------------------------------------------------------------------------------


def test_tasks_of_a_header_carry_the_body(app, s):
    result = chord([s.a(1), s.a(2)], s.t()).apply_async()
    messages = sent(app)
    body_id, header_id = ids(result)
    for index, message in enumerate(messages):
        assert message.headers["group"] == header_id
        assert message.headers["group_index"] == index
        assert message.embed["chord"]["options"]["task_id"] == body_id
    assert [message.id for message in messages] == [task.id for task in result.parent.results]


def test_options_of_a_chord(app, s):
    result = chord([s.a(1), s.a(2)], s.t()).apply_async(
        (5,), queue="other", task_id="body", countdown=30, link=s.m(9), link_error=s.err.s()
    )
    message, _ = sent(app, "other")
    assert result.id == "body"
    assert message.args == [5, 1]
    assert message.headers["eta"]
    assert message.embed["callbacks"] is None
    body = message.embed["chord"]["options"]
    assert (body["queue"], body["task_id"]) == ("other", "body")
    assert "countdown" not in body
    assert body["link"][0]["task"] == "mul"
    assert body["link_error"][0]["task"] == "err"


def test_a_body_that_is_a_group_can_be_sent_after_a_header_in_a_group(app, s):
    group([s.a(1), chord([s.a(2)], group(s.t(), s.t()))]).apply_async()
    body = sent(app)[-1].embed["chord"]
    signature(body, app=app).apply_async(([3],))
    assert [message.task for message in sent(app)] == ["total", "total"]


def test_an_id_that_is_set_is_the_body_s(app, s):
    result = chord([s.a(1)], s.t()).set(task_id="mine").apply_async()
    assert result.id == "mine"
    assert result.parent.id != "mine"


def test_called_with_a_body(app, s):
    chord([s.a(1), s.a(2)])(s.t())
    assert [message.embed["chord"]["task"] for message in sent(app)] == ["total", "total"]


def test_a_chord_without_body(s):
    with pytest.raises(TypeError, match="body"):
        chord([s.a(1)]).apply_async()


def test_a_chord_of_nothing_sends_its_body(app, s):
    result = chord([], s.t()).apply_async()
    (message,) = sent(app)
    assert (message.task, message.args, message.id) == ("total", [[]], result.id)


def test_a_header_of_chords_counts_their_bodies(app, s):
    inner = chord([s.a(1), s.a(2)], s.t())
    result = chord([inner, s.a(3)], s.t()).apply_async()
    one, _, three = sent(app)
    inner_body = one.embed["chord"]["options"]
    assert one.headers["group"] != result.parent.id
    assert inner_body["group_id"] == three.headers["group"] == result.parent.id
    assert inner_body["chord"]["options"]["task_id"] == result.id


def test_the_size_of_a_header_counts_every_last_task(app, s):
    members = [chain(s.a(1), group(s.a(2), s.a(3))), chord([s.a(4)], group(s.t(), s.t())), s.a(5)]
    workflow = chord(members, s.t())
    assert workflow.__length_hint__() == 5
    sizes = []
    app.backend.set_chord_size = lambda chord_id, size: sizes.append(size)
    workflow.apply_async()
    message = sent(app)[-1]
    assert sizes == [1, 5] or sizes == [5, 1]
    assert message.embed["chord"]["chord_size"] == 5


def test_steps_after_a_chord_follow_its_body(app, s):
    result = _chain(chord([s.a(1), s.a(2)], s.t()), s.m(3), s.m(4)).apply_async()
    message, _ = sent(app)
    body = message.embed["chord"]
    assert [step["args"] for step in body["options"]["chain"]] == [[4], [3]]
    assert body["options"]["chain"][0]["options"]["task_id"] == result.id


def test_a_body_that_is_a_group_is_joined_by_what_follows(app, s):
    _chain(chord([s.a(1), s.a(2)], group(s.t(), s.t())), s.m(3)).apply_async()
    message, _ = sent(app)
    body = message.embed["chord"]
    assert body["subtask_type"] == "chord"
    assert body["kwargs"]["body"]["args"] == [3]


def test_partial_arguments_go_to_the_header(app, s):
    _chain(group(s.a(1), s.a(2)), s.t()).apply_async((5,))
    assert [message.args for message in sent(app)] == [[5, 1], [5, 2]]


def test_chord_errbacks(app, s):
    workflow = chord([s.a(1), s.a(2)], s.t())
    workflow.link_error(s.err.s())
    assert workflow.body.options["link_error"] == [s.err.s()]
    assert workflow.tasks[0].options == {}
    app.conf.task_allow_error_cb_on_chord_header = True
    workflow = chord([s.a(1), s.a(2)], s.t(), app=app)
    workflow.link_error(s.err.s())
    assert [task.options["link_error"] for task in workflow.tasks] == 2 * [[s.err.s()]]


# -- maps and chunks ---------------------------------------------------------------------


def test_maps(app, s):
    s.add.map([1, 2]).apply_async()
    s.add.starmap([(1, 2)]).apply_async()
    first, second = sent(app)
    assert (first.task, first.kwargs["it"]) == ("celery.map", [1, 2])
    assert (second.task, second.kwargs["it"]) == ("celery.starmap", [[1, 2]])
    assert first.kwargs["task"]["task"] == "add"


def test_chunks_are_a_group(app, s):
    result = s.add.chunks(((n, n) for n in range(5)), 2).apply_async()
    messages = sent(app)
    assert [message.kwargs["it"] for message in messages] == [
        [[0, 0], [1, 1]],
        [[2, 2], [3, 3]],
        [[4, 4]],
    ]
    assert {message.headers["group"] for message in messages} == {result.id}


def test_maps_and_chunks_are_shown(s):
    assert repr(s.add.map([1])) == "[add(x) for x in [1]]"
    assert repr(s.add.starmap([(1,)])) == "[add(*x) for x in [(1,)]]"
    assert repr(chord([s.a(1)], s.t())) == "%total([add(1)])"
    assert repr(group(s.a(1), s.a(2))) == "group((add(1), add(2)))"
    assert repr(group()) == "group(<empty>)"
    assert repr(s.a(1) | s.m(2)) == "add(1) | mul(2)"


# -- all ---------------------------------------------------------------------------------


def test_workflows_survive_json(app, s):
    for workflow in (
        chain(s.a(1), group(s.a(1), s.a(2)), s.t()).set(queue="q"),
        chord([s.a(1), chain(s.a(2), s.a(3))], s.t() | s.m(2)).set(queue="q"),
        group(s.a(1), group(s.a(2), s.a(3))),
        s.add.map([1, 2]),
        s.add.chunks([[1, 2], [3, 4]], 1),
    ):
        again = signature(json.loads(json.dumps(workflow)), app=app)
        assert json.loads(json.dumps(again)) == json.loads(json.dumps(workflow))


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
def test_messages_have_plain_dicts_only(app, s, serializer):
    workflow = chain(
        s.a(1).set(link=[group(s.a(1), s.a(2))]),
        chord([s.a(1), s.a(2)], group(s.t(), s.t())),
        s.t(),
    )
    workflow.apply_async(serializer=serializer)
    with app.connection_for_write() as connection:
        message = connection.default_channel.basic_get("celery")
    _, _, embed = loads(
        message.body, message.content_type, message.content_encoding, accept=[message.content_type]
    )
    (chord_step,) = embed["chain"]
    assert signature(chord_step).subtask_type == "chord"
    found = [embed]
    while found:
        value = found.pop()
        assert type(value) in (dict, list, tuple, str, int, bool, type(None))
        found.extend(value.values() if isinstance(value, dict) else ())
        found.extend(value if isinstance(value, (list, tuple)) else ())


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda s, n: chain(s.a(i) for i in range(n)), id="chain"),
        pytest.param(lambda s, n: group(s.a(i) for i in range(n)), id="group"),
        pytest.param(lambda s, n: chord((s.a(i) for i in range(n)), s.t()), id="chord"),
        pytest.param(
            lambda s, n: chain(s.a(1), group(s.a(i) for i in range(n)), s.t(), s.m(2)),
            id="chain with a group",
        ),
        pytest.param(
            lambda s, n: group(chain(s.a(i), s.a(i)) for i in range(n)), id="group of chains"
        ),
    ],
)
def test_work_grows_with_the_number_of_tasks(app, s, build):
    build(s, 10).apply_async()
    work = []
    for size in (50, 100, 200):
        workflow = build(s, size)
        with calls_counted() as count:
            workflow.apply_async()
        work.append(count[0])
        sent(app)
    assert work[2] - work[1] <= 2.3 * (work[1] - work[0])


def test_a_message_of_a_group_of_chains_has_its_own_chain_only(app, s):
    group(chain(*[s.a(i) for i in range(50)]) for _ in range(20)).apply_async()
    lengths = {len(json.dumps(message.embed)) for message in sent(app)}
    assert max(lengths) < 50 * 400


def nested(build, depth, innermost):
    for _ in range(depth):
        innermost = build(innermost)
    return innermost


#: How a workflow gets one level deeper, and how often the work may double with the depth: what is
#: inside carries all that follows it, so that it is the number of bytes that grows with the square.
DEEPER = {
    "groups": (lambda s, inner: group(inner, s.a(1)), 1),
    "bodies": (lambda s, inner: chord([s.a(1)], inner), 1),
    "chains": (lambda s, inner: _chain(s.a(1), inner), 1),
    "headers": (lambda s, inner: chord([inner, s.a(1)], s.t()), 2),
    "chains and groups": (lambda s, inner: group(chain(s.a(1), inner), s.a(1)), 2),
}


@pytest.mark.parametrize("kind", DEEPER)
def test_the_work_of_sending_what_is_nested(app, s, kind):
    deeper, doublings = DEEPER[kind]
    s.a(1).apply_async()
    work = []
    for depth in (20, 40, 80):
        workflow = nested(lambda inner: deeper(s, inner), depth, s.a(0))
        with calls_counted() as count:
            workflow.apply_async()
        work.append(count[0])
        sent(app)
    assert work[2] - work[1] <= 1.15 * 2**doublings * (work[1] - work[0])


def test_workflows_may_be_nested_deeper_than_calls(app, s):
    for deeper, _ in DEEPER.values():
        nested(lambda inner, deeper=deeper: deeper(s, inner), 120, s.a(0)).apply_async()
    assert sent(app)
