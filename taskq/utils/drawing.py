"""Drawings of workflows: boxes and arrows, written in the languages of Graphviz and Mermaid.

What is drawn comes from `taskq.canvas.drawing` (signatures) and `taskq.result.drawing` (running
workflows).
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

from taskq import states
from taskq.exceptions import ImproperlyConfigured

__all__ = ("FORMATS", "Box", "Drawing", "Node", "render", "to_dot", "to_mermaid")

#: Formats of `render`; the last two are made by the program ``dot``.
FORMATS = ("dot", "mermaid", "png", "svg")

#: State -> fill colour. What has no state, or another one, is drawn in the first.
COLOURS = {
    "": "#eef2f7",
    states.PENDING: "#e5e7eb",
    states.RECEIVED: "#bfdbfe",
    states.STARTED: "#93c5fd",
    states.SUCCESS: "#bbf7d0",
    states.FAILURE: "#fca5a5",
    states.RETRY: "#fde68a",
    states.REVOKED: "#d8b4fe",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A task, or what stands for several.

    - label: what is written in it.
    - state: the task's state, None if it was not sent.
    - box: key of the box it is in, None for none.
    """

    label: str
    state: str | None = None
    box: str | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A frame around the tasks of a group; `label` is written on it, `box` is the one around it."""

    label: str
    box: str | None = None


@dataclass(slots=True)
class Drawing:
    """Nodes and boxes by key, and arrows as pairs of keys of nodes with what is written on them."""

    nodes: dict[str, Node] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)
    arrows: dict[tuple[str, str], str] = field(default_factory=dict)

    def connect(self, before: Iterable[str], after: Iterable[str], label: str = "") -> None:
        """Draw an arrow from each of some nodes to each of some others.

        Where there are many of both, the arrows meet in a point between them.
        """
        before, after = list(before), list(after)
        if len(before) > 1 and len(after) > 1:
            point = f"join {before[0]} {after[0]}"
            self.nodes[point] = Node("")
            self.connect(before, [point], label)
            before = [point]
        for pair in product(before, after):
            self.arrows.setdefault(pair, label)

    def inside(self, box: str | None) -> Iterator[tuple[str, Node]]:
        """Return the nodes that are directly in a box; with None those in no box."""
        return ((key, node) for key, node in self.nodes.items() if node.box == box)

    def boxes_inside(self, box: str | None) -> Iterator[tuple[str, Box]]:
        """Return the boxes that are directly in a box; with None those in no other."""
        return ((key, inner) for key, inner in self.boxes.items() if inner.box == box)


def render(drawing: Drawing, format: str) -> bytes:
    """Return a drawing in one of the `FORMATS`.

    Raises:
        taskq.exceptions.ImproperlyConfigured: the program ``dot`` is needed and not installed.
        RuntimeError: it failed.
    """
    if format == "dot":
        return to_dot(drawing).encode()
    if format == "mermaid":
        return to_mermaid(drawing).encode()
    program = shutil.which("dot")
    if program is None:
        raise ImproperlyConfigured(
            f"The program dot is needed to draw {format.upper()} files: install Graphviz "
            "(apt install graphviz, brew install graphviz), or choose the format dot or mermaid"
        )
    done = subprocess.run(
        [program, f"-T{format}"], input=to_dot(drawing).encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"dot failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def to_dot(drawing: Drawing) -> str:
    """Return the drawing in the DOT language."""
    names = _numbered(drawing)
    lines = [
        "digraph workflow {",
        "  rankdir=LR",
        '  node [shape=box style="rounded,filled" fontname=Helvetica fontsize=11 color="#64748b"]',
        '  edge [color="#64748b" fontname=Helvetica fontsize=9]',
        *_dot_inside(drawing, None, names, "  "),
    ]
    for (before, after), label in drawing.arrows.items():
        text = f" [label={_quoted(label)} style=dashed]" if label else ""
        lines.append(f"  {names[before]} -> {names[after]}{text}")
    return "\n".join([*lines, "}", ""])


def _dot_inside(
    drawing: Drawing, box: str | None, names: dict[str, str], indent: str
) -> Iterator[str]:
    for key, node in drawing.inside(box):
        if node.label:
            text = f"{node.label}\n{node.state}" if node.state else node.label
            look = f'label={_quoted(text)} fillcolor="{_colour(node)}"'
        else:
            look = 'shape=point width=0.06 color="#64748b"'
        yield f"{indent}{names[key]} [{look}]"
    for key, inner in drawing.boxes_inside(box):
        yield f"{indent}subgraph cluster_{names[key]} {{"
        yield f"{indent}  label={_quoted(inner.label)} fontname=Helvetica fontsize=10"
        yield f'{indent}  style="rounded,dashed" color="#94a3b8"'
        yield from _dot_inside(drawing, key, names, indent + "  ")
        yield f"{indent}}}"


def to_mermaid(drawing: Drawing) -> str:
    """Return the drawing as a flowchart of Mermaid, which GitHub and others show in Markdown."""
    names = _numbered(drawing)
    lines = ["flowchart LR", *_mermaid_inside(drawing, None, names, "  ")]
    for (before, after), label in drawing.arrows.items():
        arrow = f"-. {label} .->" if label else "-->"
        lines.append(f"  {names[before]} {arrow} {names[after]}")
    used = {node.state for node in drawing.nodes.values() if node.state in COLOURS}
    for state in sorted(state for state in used if state):
        lines.append(f"  classDef {state} fill:{COLOURS[state]},stroke:#64748b,color:#111827")
    return "\n".join([*lines, ""])


def _mermaid_inside(
    drawing: Drawing, box: str | None, names: dict[str, str], indent: str
) -> Iterator[str]:
    for key, node in drawing.inside(box):
        if not node.label:
            yield f"{indent}{names[key]}(( ))"
            continue
        state = f"<br/>{node.state}" if node.state else ""
        kind = f":::{node.state}" if node.state in COLOURS else ""
        yield f'{indent}{names[key]}("{_escaped(node.label)}{state}"){kind}'
    for key, inner in drawing.boxes_inside(box):
        yield f'{indent}subgraph {names[key]}["{_escaped(inner.label)}"]'
        yield from _mermaid_inside(drawing, key, names, indent + "  ")
        yield f"{indent}end"


def _numbered(drawing: Drawing) -> dict[str, str]:
    """Return a name that both languages take for the key of each node and box."""
    names = {key: f"n{number}" for number, key in enumerate(drawing.nodes)}
    return {**names, **{key: f"g{number}" for number, key in enumerate(drawing.boxes)}}


def _colour(node: Node) -> str:
    return COLOURS.get(node.state or "", COLOURS[""])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    """Return text as Mermaid wants it inside quotation marks."""
    for character, entity in (("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, entity)
    return text
