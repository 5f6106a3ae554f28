"""The page about reliability: its picture shows the curve that is beside it, its tests exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "reliability.md").read_text(encoding="utf-8")


def test_the_picture_of_the_soak() -> None:
    pictures = DOCS / "pictures"
    script = runpy.run_path(str(pictures / "soak_memory.py"))
    drawn = script["draw"](script["read"]())
    shown = (pictures / "soak-memory.svg").read_text(encoding="utf-8")
    assert shown == drawn, "run docs/pictures/soak_memory.py"
    assert "(pictures/soak-memory.svg)" in PAGE


def test_each_test_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)(?:::(\w+)…?)?`", PAGE)
    assert len(named) > 15
    for file, test in named:
        places = [DOCS.parent / file] if "/" in file else DOCS.parent.glob(f"tests/*/{file}")
        texts = [place.read_text(encoding="utf-8") for place in places]
        assert texts, file
        assert all(f"def {test}" in text for text in texts if test), (file, test)
