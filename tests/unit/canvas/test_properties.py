"""Nested workflows made up at random: what they return, and that they survive serializers."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.serialization import dumps, loads

from taskq import chord, signature
from taskq.canvas import plain
from tests.unit.canvas.canvas_support import make_app, sent
from tests.unit.canvas.made_up import leaves, workflows

APP = make_app()


@APP.task(name="flat", shared=False)
def flat(value: Any, plus: int = 0) -> int:
    """Return the sum of all numbers in nested lists, and ``plus``."""
    return plus + leaves(value)


WORKFLOWS = workflows(flat)


@settings(max_examples=150, deadline=None)
@given(WORKFLOWS)
def test_returns_what_it_should(made):
    workflow, returns = made
    result = workflow.apply((1,)).get()
    assert leaves(result) == leaves(returns(1))


@settings(max_examples=100, deadline=None)
@given(WORKFLOWS)
def test_eager_setting_runs_as_apply_does(made):
    workflow, _ = made
    APP.conf.task_always_eager = True
    try:
        assert workflow.apply_async((1,)).get() == workflow.apply((1,)).get()
    finally:
        APP.conf.task_always_eager = False


@settings(max_examples=100, deadline=None)
@given(WORKFLOWS, st.sampled_from(["json", "pickle", "yaml", "msgpack"]))
def test_serializers(made, serializer):
    workflow, _ = made
    # YAML knows no subclasses of dicts, and msgpack believes a group's length to be that of a dict.
    value = plain(workflow) if serializer in ("yaml", "msgpack") else workflow
    content_type, encoding, data = dumps(value, serializer)
    again = signature(loads(data, content_type, encoding, accept=[content_type]), app=APP)
    assert as_json(again) == as_json(workflow)
    assert again.apply((1,)).get() == workflow.apply((1,)).get()
    assert as_json(pickle.loads(pickle.dumps(workflow))) == as_json(workflow)


@settings(max_examples=100, deadline=None)
@given(WORKFLOWS)
def test_copies_are_equal_and_independent(made):
    workflow, _ = made
    before = as_json(workflow)
    copy = workflow.clone()
    assert as_json(copy) == before
    copy.freeze()
    copy.set(queue="q")
    workflow.apply_async((1,))
    sent(APP)
    assert as_json(workflow) == before


@settings(max_examples=100, deadline=None)
@given(WORKFLOWS)
def test_every_task_that_is_sent_has_its_own_id(made):
    workflow, _ = made
    result = workflow.apply_async((1,))
    messages = sent(APP)
    ids = [message.id for message in messages]
    assert len(set(ids)) == len(ids)
    assert messages
    assert result is not None


@pytest.mark.parametrize("depth", [30])
def test_deep_nesting(depth):
    workflow = flat.s(1)
    for _ in range(depth):
        workflow = chord([workflow, flat.s(0)], flat.s(1))
    assert workflow.apply((0,)).get() == 1 + depth


def as_json(sig: Any) -> Any:
    return json.loads(json.dumps(sig))
