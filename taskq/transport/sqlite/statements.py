"""Reads named SQL statements from the ``.sql`` files of this package.

A file holds any number of statements, each under a line ``-- name: <name>``; comments are for
the reader and are not sent.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

__all__ = ("read_script", "read_statements")


def read_statements(path: Path) -> dict[str, str]:
    """Return the statements of the file at `path` by name, each on one line."""
    statements: dict[str, list[str]] = {}
    current: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("-- name:"):
            current = statements.setdefault(line.removeprefix("-- name:").strip(), [])
        elif line.strip() and not line.lstrip().startswith("--"):
            current.append(line.strip())
    return {name: " ".join(lines).removesuffix(";") for name, lines in statements.items()}


def read_script(path: Path) -> list[str]:
    """Return the statements of a script in order, so that they can run in one transaction."""
    statements = []
    pending = ""
    for line in path.read_text("utf-8").splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending.strip())
            pending = ""
    return statements
