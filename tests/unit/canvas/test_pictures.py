"""The pictures of the guide show the workflows that it is about."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest

from taskq.canvas.drawing import draw_signature
from tests.integration.project import ROOT

PICTURES = ROOT / "docs" / "pictures"
GUIDE = (ROOT / "docs" / "guide" / "workflows.md").read_text()


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    """What the module of the guide defines."""
    source = re.search(r"^```python\n(# tasks.py\n.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert source is not None
    namespace: dict[str, Any] = {"__name__": "tasks"}
    exec(source[1], namespace)
    namespace["app"].close()
    return namespace


def texts(name: str) -> list[str]:
    """Return what is written in a picture."""
    picture = (PICTURES / f"workflow-{name}.svg").read_text()
    return sorted(unescape(text) for text in re.findall(r"<text [^>]*>([^<]*)</text>", picture))


@pytest.mark.parametrize("name", ["steps", "together", "joined", "nightly"])
def test_a_picture_is_that_of_its_workflow(module, name):
    drawing = draw_signature(module[name])
    written = [one.label for one in (*drawing.nodes.values(), *drawing.boxes.values())]
    assert texts(name) == sorted(written)


def test_every_picture_is_shown():
    shown = set(re.findall(r"\.\./pictures/(workflow-\w+\.svg)", GUIDE))
    assert shown == {path.name for path in PICTURES.glob("workflow-*.svg")}
    assert {"SUCCESS", "PENDING"} <= set(texts("states"))
