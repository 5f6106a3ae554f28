"""The command line run in this process, and projects for it to work on."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

PROJECT = """
    from taskq import TaskQ

    app = TaskQ("proj", broker="memory://", backend="cache+memory://", set_as_current=False)

    @app.task
    def add(x, y):
        return x + y
"""

_VARIABLES = [
    f"{prefix}_{name}"
    for prefix in ("TASKQ", "CELERY")
    for name in ("APP", "BROKER_URL", "RESULT_BACKEND", "LOADER", "CONFIG_MODULE", "SKIP_CHECKS")
]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Path]]:
    """Write a module into the directory the command runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return path

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


@pytest.fixture
def project(module: Callable[[str, str], Path]) -> None:
    """The module ``proj`` with an app in memory and one task, in the current directory."""
    module("proj", PROJECT)


@pytest.fixture
def taskq(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Run a command line and return what it printed and its exit status."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)

    def run(*args: str, input: str | None = None, **env: str) -> Result:
        from taskq.bin.celery import celery

        return CliRunner().invoke(
            celery,
            list(args),
            input=input,
            env=env,
            prog_name="taskq",
            auto_envvar_prefix="TASKQ",
        )

    yield run
    os.environ.clear()
    os.environ.update(before)
