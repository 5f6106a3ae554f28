"""Drawings of workflows: what is in them, and the languages they are written in."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from taskq import chain, chord, group
from taskq.canvas.drawing import draw_signature
from taskq.exceptions import ImproperlyConfigured
from taskq.utils.drawing import Box, Drawing, Node, render, to_dot, to_mermaid
from tests.unit.canvas.canvas_support import make_app

APP = make_app()
ADD, TOTAL, ECHO = (APP.tasks[name] for name in ("add", "total", "echo"))


def labelled(drawing: Drawing) -> set[tuple[str, str]]:
    """Return the arrows as pairs of what is written in the nodes."""
    text = {key: node.label for key, node in drawing.nodes.items()}
    return {(text[before], text[after]) for before, after in drawing.arrows}


def test_steps_follow_each_other():
    drawing = draw_signature(chain(ADD.s(1, 2), ADD.s(3), ADD.s(4)))
    assert labelled(drawing) == {("add(1, 2)", "add(3)"), ("add(3)", "add(4)")}


def test_a_body_follows_each_task_of_the_header():
    drawing = draw_signature(chain(ADD.s(0, 0), group(ADD.s(1), ADD.s(2)), TOTAL.s()))
    assert labelled(drawing) == {
        ("add(0, 0)", "add(1)"),
        ("add(0, 0)", "add(2)"),
        ("add(1)", "total()"),
        ("add(2)", "total()"),
    }
    [(key, box)] = drawing.boxes.items()
    assert box.label == "chord header"
    assert {node.label for _, node in drawing.inside(key)} == {"add(1)", "add(2)"}


def test_many_to_many_meet_in_a_point():
    drawing = draw_signature(chord([ADD.s(1, 1), ADD.s(2, 2)], group(TOTAL.s(), ECHO.s())))
    assert ("", "total()") in labelled(drawing)
    assert len(drawing.arrows) == 4


def test_nested_groups_are_boxes_in_boxes():
    drawing = draw_signature(chord([chord([ADD.s(1, 1)], TOTAL.s()), ADD.s(2, 2)], TOTAL.s()))
    outer, inner = drawing.boxes
    assert drawing.boxes[inner] == Box("chord header", outer)


def test_links_and_errbacks_are_drawn():
    sig = ADD.s(1, 2)
    sig.link(ECHO.s())
    sig.link_error(APP.tasks["err"].s())
    assert set(draw_signature(sig).arrows.values()) == {"link", "on error"}


def test_of_a_large_group_some_are_drawn():
    drawing = draw_signature(group(ADD.s(i, i) for i in range(1000)), most=3)
    assert [node.label for node in drawing.nodes.values()][-1] == "… 997 more"
    assert len(drawing.nodes) == 4


@pytest.mark.parametrize(
    ("sig", "label"),
    [
        (ADD.map([1, 2]), "add, 2 items in celery.map"),
        (ADD.chunks([(1, 2)] * 3, 2), "add, 3 items in celery.chunks"),
        (ADD.s("x" * 100), "add('" + "x" * 20),
    ],
)
def test_labels(sig, label):
    [node] = draw_signature(sig).nodes.values()
    assert node.label.startswith(label)
    assert len(node.label) < 60


def test_what_is_empty_draws_nothing():
    assert draw_signature(group()).nodes == {}
    assert labelled(draw_signature(chain(ADD.s(1, 1), chord([], TOTAL.s())))) == {
        ("add(1, 1)", "total()")
    }


@pytest.fixture
def awkward():
    drawing = Drawing({"a": Node('say "<hi>" \\ & bye', "SUCCESS", "b")}, {"b": Box('a "box"')})
    drawing.nodes["c"] = Node("c", "FAILURE")
    drawing.connect(["a"], ["c"])
    return drawing


def test_mermaid(awkward):
    assert to_mermaid(awkward) == (
        "flowchart LR\n"
        '  n1("c<br/>FAILURE"):::FAILURE\n'
        '  subgraph g0["a #quot;box#quot;"]\n'
        '    n0("say #quot;#lt;hi#gt;#quot; \\ #amp; bye<br/>SUCCESS"):::SUCCESS\n'
        "  end\n"
        "  n0 --> n1\n"
        "  classDef FAILURE fill:#fca5a5,stroke:#64748b,color:#111827\n"
        "  classDef SUCCESS fill:#bbf7d0,stroke:#64748b,color:#111827\n"
    )


def test_pictures_are_made_by_dot(awkward):
    if shutil.which("dot") is None:
        with pytest.raises(ImproperlyConfigured, match="install Graphviz"):
            render(awkward, "png")
        return
    assert render(awkward, "png").startswith(b"\x89PNG")
    assert b"<svg" in render(awkward, "svg")
    done = subprocess.run(
        ["dot", "-Tplain"], input=to_dot(awkward), capture_output=True, text=True, check=True
    )
    assert "edge n0 n1" in done.stdout


def test_without_dot_the_error_says_what_to_do(awkward, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImproperlyConfigured, match="apt install graphviz"):
        render(awkward, "png")
    assert render(awkward, "dot").startswith(b"digraph")
