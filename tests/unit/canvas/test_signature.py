"""Signatures of single calls."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from taskq.canvas import Signature, abstract, maybe_signature, signature, subtask
from taskq.exceptions import NotRegistered
from tests.unit.canvas.canvas_support import sent


def test_keys_are_those_of_the_wire(tasks):
    sig = tasks.add.s(1, 2)
    assert json.loads(json.dumps(sig)) == {
        "task": "add",
        "args": [1, 2],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }


def test_by_name_with_options():
    sig = signature("a.b", (1,), {"k": 2}, countdown=3)
    assert (sig.task, sig.args, sig.kwargs, sig.options) == (
        "a.b",
        (1,),
        {"k": 2},
        {"countdown": 3},
    )
    assert sig.name == "a.b"
    assert subtask is signature


def test_from_a_dict_leaves_the_dict_alone():
    given = {"task": "a", "args": [1], "kwargs": {}, "options": {"queue": "q"}}
    sig = signature(given).set(queue="other")
    assert sig.options["queue"] == "other"
    assert given["options"] == {"queue": "q"}
    assert sig["immutable"] is False


def test_from_a_signature_is_a_copy(tasks):
    sig = tasks.add.s(1)
    again = signature(sig).set(queue="q")
    assert sig.options == {}
    assert again.args == (1,)


@pytest.mark.parametrize("value", [None, [1], "text", 3])
def test_maybe_signature_leaves_other_things_alone(value):
    assert maybe_signature(value) is value


def test_maybe_signature_sets_the_app(app):
    sig = maybe_signature({"task": "add", "args": [], "kwargs": {}, "options": {}}, app=app)
    assert sig.app is app
    assert maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig


def test_partial_arguments(tasks):
    assert tasks.add.s(2).clone((1,), {"y": 3}, countdown=4).args == (1, 2)
    assert tasks.add.s(2).clone((1,), {"y": 3}).kwargs == {"y": 3}
    assert tasks.add.s(2).partial((1,)).args == (1, 2)
    assert tasks.add.s(2, k=1).replace((1,)).args == (1,)


def test_immutable_takes_options_only(tasks):
    sig = tasks.add.si(1).clone((2,), {"k": 3}, queue="q")
    assert (sig.args, sig.kwargs, sig.options) == ((1,), {}, {"queue": "q"})


def test_some_options_keep_their_first_value(tasks):
    sig = tasks.add.s().set(group_id="a", stamped_headers=["s"], queue="a")
    merged = sig.clone(group_id="b", stamped_headers=["t"], queue="b")
    assert merged.options == {"group_id": "a", "stamped_headers": ["s"], "queue": "b"}


def test_copies_share_no_lists(tasks):
    sig = tasks.add.s(1).set(link=[tasks.mul.s(2)])
    other = sig.clone()
    other.link(tasks.total.s())
    other.options["link"][0].set(queue="q")
    assert sig.options["link"] == [tasks.mul.s(2)]


def test_calls_the_task_directly(tasks):
    assert tasks.add.s(2)(1) == 3


def test_applies_here(tasks):
    assert tasks.add.s(2).apply((1,)).get() == 3


def test_sends_with_merged_arguments_and_options(app, tasks):
    sig = tasks.add.s(2).set(queue="celery", shadow="one")
    result = sig.apply_async((1,), shadow="two")
    (message,) = sent(app)
    assert message.id == result.id
    assert message.args == [1, 2]
    assert message.headers["shadow"] == "two"


def test_sends_what_is_not_registered_by_name(app):
    result = Signature("elsewhere", (1,), app=app).delay(2)
    (message,) = sent(app)
    assert (message.task, message.id, message.args) == ("elsewhere", result.id, [2, 1])


def test_type(app, tasks):
    assert tasks.add.s().type is tasks.add
    assert Signature("add", app=app).type is tasks.add
    with pytest.raises(NotRegistered):
        Signature("nowhere", app=app).type


def test_links(tasks):
    sig = tasks.add.s(1)
    callback, errback = tasks.mul.s(2), tasks.err.s()
    assert sig.link(callback) is callback
    sig.link(tasks.mul.s(2))
    assert sig.on_error(errback) is sig
    assert sig.options == {"link": [callback], "link_error": [errback]}


def test_a_single_link_becomes_a_list(tasks):
    sig = tasks.add.s(1).set(link=tasks.mul.s(2))
    sig.link(tasks.mul.s(3))
    assert sig.options["link"] == [tasks.mul.s(2), tasks.mul.s(3)]
    sig.extend_list_option("link", [1, 2])
    assert sig.options["link"][2:] == [1, 2]


def test_flatten_links(tasks):
    last = tasks.total.s()
    middle = tasks.mul.s(2)
    middle.link(last)
    sig = tasks.add.s(1)
    sig.link(dict(middle))
    assert sig.flatten_links() == [sig, middle, last]


def test_freeze(app, tasks):
    sig = tasks.add.s(1)
    result = sig.freeze(
        "id", group_id="g", chord=tasks.total.s(), root_id="r", parent_id="p", group_index=3
    )
    assert result.id == sig.id == "id"
    assert (sig.root_id, sig.parent_id) == ("r", "p")
    assert sig.options == {
        "task_id": "id",
        "root_id": "r",
        "parent_id": "p",
        "reply_to": app.thread_oid,
        "group_id": "g",
        "chord": tasks.total.s(),
        "group_index": 3,
    }


def test_freeze_again_keeps_id_and_group(tasks):
    sig = tasks.add.s(1)
    first = sig.freeze(group_id="a")
    assert sig.freeze("other", group_id="b") == first
    assert sig.options["group_id"] == "a"


def test_combining_does_not_change_the_operands(tasks):
    sig = tasks.add.s(1)
    sig |= tasks.mul.s(2)
    assert sig.subtask_type == "chain"
    assert tasks.add.s(1) | dict(tasks.mul.s(2)) == sig
    with pytest.raises(TypeError):
        tasks.add.s(1) | 3


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, signature])
def test_copying(tasks, duplicate):
    sig = tasks.add.s(1, k=[2]).set(link=[tasks.mul.s(2)])
    other = duplicate(sig)
    assert other == sig
    assert other is not sig


def test_pickle(tasks):
    sig = tasks.add.s(1).set(link=[tasks.mul.s(2)])
    other = pickle.loads(pickle.dumps(sig))
    assert other == sig
    assert isinstance(other, Signature)
    assert isinstance(other.options["link"][0], Signature)


def test_shown_as_a_call(tasks):
    assert repr(tasks.add.s(1, k="v")) == "add(1, k='v')"
    assert tasks.add.s(2).reprcall(1, k=3) == "add(1, 2, k=3)"


def test_counts_as_an_abstract_signature(tasks):
    assert isinstance(tasks.add.s(), abstract.CallableSignature)
    assert isinstance(tasks.add, abstract.CallableTask)
    assert not isinstance(tasks.add, abstract.CallableSignature)
    assert not isinstance({}, abstract.CallableTask)


def test_register_type():
    @Signature.register_type("special")
    class Special(Signature):
        @classmethod
        def from_dict(cls, d, app=None):
            return cls(d["task"])

    try:
        assert isinstance(signature({"task": "t", "subtask_type": "special"}), Special)
    finally:
        del Signature.TYPES["special"]
    with pytest.raises(KeyError):
        signature({"task": "t", "subtask_type": "special"})
