"""The examples of deployment name options that exist, and systemd understands its units."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from taskq.bin.celery import celery
from taskq.bin.group import LazyGroup

DEPLOY = Path(__file__).parents[3] / "examples" / "deploy"
GUIDES = DEPLOY.parents[1] / "docs" / "guide"
PAGES = [GUIDES / f"{name}.md" for name in ("workers", "monitoring", "deployment")]
FILES = [*sorted(path for path in DEPLOY.rglob("*") if path.is_file()), *PAGES]
#: What a worker or beat is told after its name, to the end of the line; or a list of words.
COMMANDS = re.compile(r"(?:^|[ \"])(worker|beat)\"?,? (?=[-\"])(.*)$", re.MULTILINE)


def words(text):
    """Return the option names in a command line or in a list of quoted words."""
    return re.findall(r"(?<![\w-])(--?[a-zA-Z][\w-]*)", text)


def options(name):
    assert isinstance(celery, LazyGroup)
    params = celery.commands[name].params + celery.params
    named = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    return {*named, "--help"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_options_exist(path):
    for name, text in COMMANDS.findall(path.read_text()):
        known = options(name)
        for word in words(text):
            assert word in known or word[:2] in known, f"{path.name}: {name} has no {word}"


def test_the_examples_are_looked_at():
    found = [words(text) for path in FILES for _, text in COMMANDS.findall(path.read_text())]
    assert len([options for options in found if options]) >= 5


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.service")), ids=lambda path: path.name)
def test_units_are_valid(path, tmp_path):
    # The programs need not be installed here; `true` stands in for them.
    text = re.sub(r"=/srv/proj/venv/bin/taskq", "=/bin/true", path.read_text())
    unit = tmp_path / path.name
    unit.write_text(text.replace("/srv/proj", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert not said
