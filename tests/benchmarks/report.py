"""The table: as text while it is measured, and as Markdown between two comments of a file."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from os import cpu_count
from pathlib import Path

from tests.benchmarks.rows import Row

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
VERSIONS = ("taskq", "celery", "kombu", "redis", "amqp")


@dataclass(frozen=True)
class Line:
    """A row with its figures, by package; empty if it could not be measured."""

    row: Row
    figures: dict[str, float]

    @property
    def ratio(self) -> float | None:
        """taskq's figure over Celery's."""
        ours, theirs = self.figures.get("taskq"), self.figures.get("celery")
        return ours / theirs if ours is not None and theirs else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without one, or without a figure."""
        value = self.ratio if self.row.ratio else self.figures.get("taskq")
        if self.row.goal is None or value is None:
            return None
        return value >= self.row.goal if self.row.more else value <= self.row.goal

    def cells(self) -> list[str]:
        """Return what the table shows."""
        row = self.row
        others = [
            f"{package} {_figure(value)}"
            for package, value in self.figures.items()
            if package not in ("taskq", "celery")
        ]
        goal = ""
        if row.goal is not None:
            sign, unit = ("≥" if row.more else "≤"), ("×" if row.ratio else f" {row.unit}")
            goal = f"{sign} {row.goal:,g}{unit}".rstrip()
        return [
            row.what,
            row.unit,
            _figure(self.figures.get("taskq")),
            _figure(self.figures.get("celery")) if not others else ", ".join(others),
            f"{self.ratio:.2f}×" if self.ratio is not None else "",
            goal,
            {True: "yes", False: "**no**", None: ""}[self.reached],
        ]

    def text(self) -> str:
        """Return the line for a terminal."""
        what, unit, *rest = self.cells()
        return f"{what:62s} {unit:10s} " + " ".join(f"{cell:>10s}" for cell in rest)


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(lines: Sequence[Line], rounds: int, redis: str) -> str:
    """Return the table with what it was measured on."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = ("what", "unit", "taskq", "Celery", "ratio", "goal", "reached")
    rows = [head, ("---", "---", "--:", "--:", "--:", "--:", "---"), *(x.cells() for x in lines)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return (
        f"Measured on {today}, medians of {rounds}; {cpu_count()} processors "
        f"({platform.machine()}), Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, Redis {redis}, {_versions()}.\n\n{table}\n"
    )


def write(path: Path, lines: Iterable[Line], *, rounds: int, redis: str) -> None:
    """Put the table between the two comments in a file. Raises ValueError when it has none."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} has no {BEGIN} … {END} to put the table between")
    table = f"{BEGIN}\n{markdown(list(lines), rounds, redis)}{END}"
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL))


def redis_version() -> str:
    """Return the version of the installed Redis server."""
    text = subprocess.run(
        ["redis-server", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return text.partition("v=")[2].split()[0]


def _versions() -> str:
    return ", ".join(f"{name} {_version(name)}" for name in VERSIONS)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "–"
