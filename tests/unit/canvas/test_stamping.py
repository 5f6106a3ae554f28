"""Stamps on every part of a workflow."""

from __future__ import annotations

import pytest

from taskq import chain, chord, group
from taskq.canvas import GroupStampingVisitor, StampingVisitor
from tests.unit.canvas.canvas_support import sent


class Everything(StampingVisitor):
    """Stamps each part with the kind of part it is."""

    def on_signature(self, sig, **headers):
        return {"task": sig.name, "plain": 1, "stamped_headers": ["task"]}

    def on_group_start(self, group, **headers):
        return {"in_group": True}

    def on_chain_start(self, chain, **headers):
        return {"in_chain": True}

    def on_chord_header_start(self, sig, **header):
        super().on_chord_header_start(sig, **header)
        return {"in_chord": True}

    def on_chord_body(self, sig, **header):
        return {"body": True}

    def on_callback(self, callback, **header):
        return {"callback": True}

    def on_errback(self, errback, **header):
        return {"errback": True}


def stamps(sig):
    return {name: sig.options[name] for name in sig.options["stamped_headers"]}


def test_stamp_with_headers(tasks):
    sig = tasks.add.s(1)
    assert sig.stamp(a=1, b=[2]) is sig
    assert stamps(sig) == {"a": 1, "b": [2]}


def test_stamps_are_replaced_or_appended(tasks):
    sig = tasks.add.s(1)
    sig.stamp(a=1, b=1)
    sig.stamp(a=2)
    assert stamps(sig) == {"a": 2, "b": 1}
    sig.stamp(a=3, append_stamps=True)
    assert stamps(sig) == {"a": [3, 2], "b": 1}


def test_only_listed_headers_are_stamps(tasks):
    sig = tasks.add.s(1)
    sig.stamp(Everything())
    assert stamps(sig) == {"task": "add"}
    assert sig.options["plain"] == 1


def test_links_are_stamped(tasks):
    callback, errback = tasks.mul.s(2), tasks.err.s()
    sig = tasks.add.s(1).set(link=[callback], link_error=[dict(errback)])
    sig.stamp(Everything())
    assert stamps(sig.options["link"][0]) == {"task": "mul", "callback": True}
    assert stamps(sig.options["link_error"][0]) == {"task": "err", "errback": True}
    # The callback may be linked to others, too.
    assert callback.options == {}


def test_chains_and_groups(tasks):
    workflow = chain(tasks.add.s(1), group(tasks.add.s(2), tasks.add.s(3)))
    workflow.stamp(Everything())
    first, members = workflow.tasks
    assert stamps(first) == {"task": "add", "in_chain": True}
    for member in members.tasks:
        assert stamps(member) == {"task": "add", "in_chain": True, "in_group": True}


def test_chords(tasks):
    workflow = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    workflow.stamp(Everything())
    assert stamps(workflow.tasks.tasks[0]) == {"task": "add", "in_chord": True}
    assert stamps(workflow.body) == {"task": "total", "in_chord": True, "body": True}


def test_stamps_are_sent(app, tasks):
    workflow = group(tasks.add.s(1), tasks.add.s(2))
    workflow.stamp(customer="c1")
    workflow.apply_async()
    for message in sent(app):
        assert message.headers["stamped_headers"] == ["customer"]
        assert message.headers["stamps"] == {"customer": "c1"}


def test_stamps_of_a_chord_are_sent(app, tasks):
    workflow = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    workflow.stamp(Everything())
    workflow.apply_async()
    message, _ = sent(app)
    assert message.headers["stamps"] == {"task": "add", "in_chord": True}
    assert message.embed["chord"]["options"]["body"] is True


def test_group_stamping_visitor(tasks):
    workflow = group(tasks.add.s(1), group(tasks.add.s(2), tasks.add.s(3)))
    workflow.stamp(GroupStampingVisitor())
    outer, inner = workflow.id, workflow.tasks[1].id
    assert stamps(workflow.tasks[0]) == {"groups": [outer]}
    assert stamps(workflow.tasks[1].tasks[0]) == {"groups": [outer, inner]}


def test_a_visitor_must_visit_signatures():
    with pytest.raises(TypeError):
        StampingVisitor()
