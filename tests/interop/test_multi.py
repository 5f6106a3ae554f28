"""``multi`` names nodes and makes their command lines as Celery's does."""

from __future__ import annotations

import importlib
import re
import shlex
import sys

import pytest
from click.testing import CliRunner

COMMANDS = [
    "names 3",
    "names foo bar baz",
    "names a@b c@d e",
    "names 10 -n h",
    "names 3 --range-prefix=w",
    "expand %n 3",
    "expand %h 3 -n box",
    "expand /var/%n%I.log a b",
    "expand %d/%p a@x.y.z",
    "show 2 -A p -c 3",
    "show a b c -c:a 3 -c:b 4 -Q:1 x",
    "show 10 -c:1-3 10 -Q:4-6 images -Q:7,8 data -Q default -L:9,10 DEBUG",
    "show w1 w2 --pidfile=/r/%n.pid --logfile=/l/%n%I.log -l INFO",
    "show 1 -n foo.local -A proj -- broker.pool_limit=3",
    "show 3 --suffix=x.com",
    "show 2 --executable=/bin/python3 --app=proj",
    "show a -P gevent --autoscale=3,1 -E",
    "show a -n box -c:a@box 2",
    "show Leslie -n %n.local -c 2",
]


def said(package: str, command: str, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the lines that a package prints, each as words, with our names in them."""
    words = ["multi", *shlex.split(command)]
    monkeypatch.setattr(sys, "argv", [package, *words])  # Celery reads it
    root = importlib.import_module(f"{package}.bin.celery").celery
    result = CliRunner().invoke(root, words)
    assert result.exit_code == 0, (package, result.output)
    lines = result.stdout.strip().splitlines()
    return [re.sub(r"-m celery\b", "-m taskq", line).split() for line in lines]


@pytest.mark.parametrize("command", COMMANDS)
def test_same_answer(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said("taskq", command, monkeypatch) == said("celery", command, monkeypatch)
