"""The API's types, checked by mypy as a user's project would be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "calls.py"


def test_calls_are_checked(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    out, _, _ = api.run(
        ["--strict", "--cache-dir", str(tmp_path), "--follow-imports=silent", str(SOURCE)]
    )
    wrong = {int(line) for line in re.findall(r"calls\.py:(\d+): error", out)}
    marked = {
        number
        for number, line in enumerate(SOURCE.read_text().splitlines(), 1)
        if line.endswith("# error")
    }
    assert wrong == marked, out
