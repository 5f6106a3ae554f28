"""The guide to periodic tasks: its examples run as they stand, its pictures show what beat does."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.project import ROOT, SCRIPTS

PAGE = ROOT / "docs" / "guide" / "periodic-tasks.md"
PICTURES = ROOT / "docs" / "pictures"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_examples(tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    module = [text for kind, text in blocks if kind == "python" and text.startswith("# proj.py")]
    (tmp_path / "proj.py").write_text("".join(module))
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    printed = []
    for kind, text in blocks:
        if kind == "bash":
            for line in text.splitlines():
                command, *arguments = shlex.split(line, comments=True)
                assert command == "taskq"
                words = [str(SCRIPTS / "taskq"), *arguments]
                printed.append(_run(words, tmp_path, env))
        elif text not in module:
            assert kind == "python", f"nothing runs this: {text}"
            _run([sys.executable, "-c", text], tmp_path, env)
    listed = next(text for text in printed if "proj.refresh" in text)
    assert "<crontab: 30 7 * * mon (m/h/dM/MY/d)>" in listed
    assert "<solar: sunset" in listed
    # What was run at once, and what beat sends of the settings.
    assert len(printed[-1].strip()) == 36
    checks = (
        "from taskq.beat import Scheduler; from proj import app; print(*Scheduler(app).schedule)"
    )
    found = _run([sys.executable, "-c", checks], tmp_path, env)
    assert {"every-half-minute", "monday-morning", "last-friday", "at-sunset"} < set(found.split())
    assert "refresh news" in found


def _run(words: list[str], directory: Path, env: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=directory, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", ["clocks-forward.svg", "clocks-back.svg"])
def test_pictures(name: str) -> None:
    script = runpy.run_path(str(PICTURES / "clock_changes.py"))
    (picture,) = (picture for picture in script["PICTURES"] if picture.name == name)
    drawn = script["draw"](picture)
    assert (PICTURES / name).read_text(encoding="utf-8") == drawn, (
        "run docs/pictures/clock_changes.py"
    )
    assert f"(../pictures/{name})" in PAGE.read_text()
