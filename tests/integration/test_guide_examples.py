"""The examples of the guides run as they stand.

Blocks that begin with ``# tasks.py`` make that module, a worker is started on it, and everything
else is run in order: ``pycon`` blocks as doctests, ``python`` blocks as scripts.
"""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest

from tests.integration.project import ROOT, Project

BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FLAGS = doctest.ELLIPSIS | doctest.IGNORE_EXCEPTION_DETAIL


class Guide(Project):
    """A directory with the ``tasks.py`` of a page."""

    def _write(self, filename: str, package: str, names: str = "") -> None:
        (self.directory / "tasks.py").write_text(self._source[1])


@pytest.mark.parametrize("page", ["tasks", "calling", "workers", "workflows", "asyncio"])
def test_examples(page, tmp_path, monkeypatch):
    pytest.importorskip("pydantic")
    blocks = BLOCK.findall((ROOT / "docs" / "guide" / f"{page}.md").read_text())
    module = [text for _, text in blocks if text.startswith("# tasks.py")]
    rest = [(kind, text) for kind, text in blocks if not text.startswith("# tasks.py")]
    assert module
    assert rest
    # Relative paths in URLs are relative to where the programs run.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    project = Guide(tmp_path, "\n\n".join(module), broker="", backend=None)
    try:
        with project.worker("-c", "2", app="tasks"):
            run_all(rest, tmp_path / f"{page}.md")
    finally:
        tasks = sys.modules.pop("tasks", None)
        if tasks is not None:
            tasks.app.close()
        project.close()
        importlib.invalidate_caches()


def run_all(blocks: list[tuple[str, str]], page: Path) -> None:
    """Run the blocks of a page, one namespace for all."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, str(page), "exec"), namespace)
            continue
        test = doctest.DocTestParser().get_doctest(text, namespace, page.stem, str(page), 0)
        failures: list[str] = []
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=failures.append, clear_globs=False)
        assert not failures, "".join(failures)
        namespace.update(test.globs)
