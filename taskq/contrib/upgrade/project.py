"""The plan of an upgrade: which files of a project change, and to what. Writes nothing."""

from __future__ import annotations

import ast
import io
import os
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from taskq.contrib.upgrade.imports import ImportRewriter
from taskq.contrib.upgrade.renaming import new_setting, renamed
from taskq.contrib.upgrade.settings import SettingsRewriter, settings_modules

#: Name of the module that holds settings where no other is named.
DEFAULT_SETTINGS = "celeryconfig"
#: Directories that hold no code of the project; the last two only if they are no packages.
_FOREIGN = frozenset({"__pycache__", "node_modules", "site-packages"})
_BUILT = frozenset({"build", "dist"})


class NotPython(Exception):  # noqa: N818 - it is what the file is
    """A file could not be parsed."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is not Python: {reason}")


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file: what it holds, what it should hold, and what has to be looked at by hand."""

    path: Path
    encoding: str
    before: str
    after: str
    #: (line, text)
    remarks: tuple[tuple[int, str], ...]


def python_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files as they are given, and all ``.py`` files below directories.

    Left out are hidden directories, virtual environments and what was built or installed.
    """
    for path in paths:
        if path.is_file():
            yield path
            continue
        for folder, folders, files in os.walk(path):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if _is_of_the_project(here / name))
            yield from (here / name for name in sorted(files) if name.endswith(".py"))


def plan(files: Iterable[Path]) -> list[FileChange]:
    """Return the files that change, or about which there is something to say.

    Raises:
        NotPython: one of them can't be parsed.
    """
    sources = {path: _read(path) for path in files}
    settings = {DEFAULT_SETTINGS}
    for tree, _, _ in sources.values():
        settings |= settings_modules(tree)
    changes = []
    for path, (_, before, encoding) in sources.items():
        after, remarks = _rewritten(before, is_settings=_is_module(path, settings))
        if after != before or remarks:
            changes.append(FileChange(path, encoding, before, after, remarks))
    return changes


def _read(path: Path) -> tuple[ast.Module, str, str]:
    """Return the syntax tree, the text and the encoding of a file."""
    try:
        content = path.read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
        return ast.parse(text), text, encoding
    except (SyntaxError, ValueError) as exc:
        raise NotPython(path, str(exc).splitlines()[0]) from exc


def _rewritten(source: str, *, is_settings: bool) -> tuple[str, tuple[tuple[int, str], ...]]:
    rewriter = ImportRewriter()
    module = cst.MetadataWrapper(cst.parse_module(source)).visit(rewriter)
    after = module.visit(SettingsRewriter()).code
    if is_settings:
        after = renamed(after, new_setting)
    return after, tuple(rewriter.remarks)


def _is_module(path: Path, names: Iterable[str]) -> bool:
    parts = path.with_suffix("").parts
    return any(parts[-len(words) :] == tuple(words) for words in (n.split(".") for n in names))


def _is_of_the_project(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _FOREIGN:
        return False
    if folder.name in _BUILT and not (folder / "__init__.py").exists():
        return False
    return not (folder / "pyvenv.cfg").exists()
