"""Order of dependencies, and drawings of them."""

from __future__ import annotations

import io

import pytest

from taskq.utils.graph import CycleError, DependencyGraph, GraphFormatter


@pytest.fixture
def graph():
    return DependencyGraph(
        [("app", ["db", "cache"]), ("db", ["disk"]), ("cache", []), ("disk", [])]
    )


def test_everything_comes_after_what_it_needs(graph):
    order = graph.topsort()
    assert sorted(order) == ["app", "cache", "db", "disk"]
    assert order.index("disk") < order.index("db") < order.index("app")
    assert order.index("cache") < order.index("app")


def test_cycle():
    graph = DependencyGraph([("a", ["b"]), ("b", ["c"]), ("c", ["a"]), ("d", ["a"])])
    with pytest.raises(CycleError, match="a <-> b <-> c"):
        graph.topsort()


def test_growing(graph):
    graph.add_arc("log")
    graph.add_edge("log", "disk")
    graph.connect(DependencyGraph([("more", [])]))
    assert graph["log"] == ["disk"]
    assert "more" in graph
    assert len(graph) == 6
    assert set(graph.edges()) == {"app", "db", "log"}
    assert dict(graph.items())["db"] == ["disk"]


def test_text(graph):
    assert graph.valency_of("app") == 3
    assert graph.valency_of("nothing") == 0
    assert graph.repr_node("app") == "app(3)\n     db(1)\n          disk(0)\n     cache(0)"
    assert repr(graph).startswith("app(3)\n")
    assert graph.format("x") == "x"


def test_dot(graph):
    out = io.StringIO()
    graph.to_dot(out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "digraph dependencies {"
    assert lines[-1] == "}"
    assert any('"app" -> "db"' in line for line in lines)
    assert sum(line.strip().startswith('"disk" [') for line in lines) == 1


def test_formatter():
    formatter = GraphFormatter(type="graph", id="g", indent=1, color="red")
    assert formatter.head().startswith(b"    graph g {")
    assert b'color="red"' in formatter.node("n", color="red")
    assert b'"a" -- "b"' in formatter.edge("a", "b")
    assert formatter.attr("a", 1) == b'a="1"'
