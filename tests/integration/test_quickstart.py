"""The program of the README's first command does what the README says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart"

pytestmark = pytest.mark.slow


def test_quickstart(tmp_path):
    copy = shutil.copytree(EXAMPLE, tmp_path / "quickstart", ignore=shutil.ignore_patterns("*.db*"))
    program = [sys.executable, str(copy / "run.py")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr + (copy / "quickstart.log").read_text()
    for line in (
        "SUCCESS: 4",
        "SUCCESS: 42",
        "FAILURE: ZeroDivisionError('division by zero')",
        "1 of 5 pages",
        "SUCCESS: '5 pages converted'",
        "ended with exit code 0",
    ):
        assert line in done.stdout
