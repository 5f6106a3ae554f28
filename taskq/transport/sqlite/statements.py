"""Reads named SQL statements from the ``.sql`` files of this package.

A file holds any number of statements, each under a line ``-- name: <name>``; comments are for
the reader and are not sent. Parameters are numbered (``?1``), so that a statement may use one
twice; Python wants them in the order in which they stand, which `Connection` puts them in.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ("Connection", "Statement", "read_script", "read_statements")


class Statement(str):
    """A statement with plain parameters.

    - order: positions of the numbered parameters; None if they stand in order, each once.
    """

    __slots__ = ("order",)
    order: tuple[int, ...] | None

    @classmethod
    def numbered(cls, text: str) -> Statement:
        """Return the statement for a text with numbered parameters."""
        order = tuple(int(number) - 1 for number in re.findall(r"\?(\d+)", text))
        statement = cls(re.sub(r"\?\d+", "?", text))
        statement.order = None if order == tuple(range(len(order))) else order
        return statement


class Connection(sqlite3.Connection):
    """A connection that takes the parameters of a `Statement` by their numbers."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run one statement."""
        order = sql.order if sql.__class__ is Statement else None
        if order is not None:
            parameters = [parameters[index] for index in order]
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run one statement with each of several sets of parameters."""
        order = sql.order if sql.__class__ is Statement else None
        if order is not None:
            parameters = ([row[index] for index in order] for row in parameters)
        return super().executemany(sql, parameters)


def read_statements(path: Path) -> dict[str, Statement]:
    """Return the statements of the file at `path` by name, each on one line."""
    statements: dict[str, list[str]] = {}
    current: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("-- name:"):
            current = statements.setdefault(line.removeprefix("-- name:").strip(), [])
        elif line.strip() and not line.lstrip().startswith("--"):
            current.append(line.strip())
    return {
        name: Statement.numbered(" ".join(lines).removesuffix(";"))
        for name, lines in statements.items()
    }


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
