"""The table: as text while it is measured, and as Markdown between two comments of a file."""

from __future__ import annotations

import datetime
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from os import cpu_count
from pathlib import Path

from tests.benchmarks.rows import Row

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
VERSIONS = ("taskq", "celery", "kombu", "redis", "amqp")


@dataclass(frozen=True)
class Line:
    """A row with its figures, by package; empty if it could not be measured.

    - rounds: how many the figures are medians of.
    """

    row: Row
    figures: dict[str, float]
    rounds: int

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

    @property
    def has_peers(self) -> bool:
        """Whether it compares more than the two."""
        return not self.figures.keys() <= {"taskq", "celery"}

    def cells(self) -> list[str]:
        """Return what the table shows."""
        row = self.row
        goal = ""
        if row.goal is not None:
            sign, unit = ("≥" if row.more else "≤"), ("×" if row.ratio else f" {row.unit}")
            goal = f"{sign} {row.goal:,g}{unit}".rstrip()
        return [
            row.what,
            row.unit,
            _figure(self.figures.get("taskq")),
            _figure(self.figures.get("celery")),
            f"{self.ratio:.2f}×" if self.ratio is not None else "",
            goal,
            {True: "yes", False: "**no**", None: ""}[self.reached],
        ]

    def text(self) -> str:
        """Return the line for a terminal."""
        what, unit, *rest = self.cells()
        others = [
            f"{package} {_figure(value)}"
            for package, value in self.figures.items()
            if package not in ("taskq", "celery")
        ]
        return " ".join([f"{what:62s} {unit:10s}", *(f"{x:>10s}" for x in rest), *others]).rstrip()


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(lines: Sequence[Line], rounds: int, peers: Path | None = None) -> str:
    """Return the tables with what they were measured on.

    - peers: where the other task queues are installed.
    """
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = ("what", "unit", "taskq", "Celery", "ratio", "goal", "reached")
    rows = []
    for line in lines:
        if not line.has_peers:
            what, *cells = line.cells()
            rows.append((what if line.rounds == rounds else f"{what} [^fewer]", *cells))
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    measured = (
        f"Measured on {today}, medians of {rounds} rounds; {cpu_count()} processors "
        f"({platform.machine()}), Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, Redis {redis_version()}, {versions}."
    )
    parts = [measured, _table(head, rows)]
    fewer = sorted({line.rounds for line in lines if line.rounds != rounds})
    if fewer:
        parts.append(f"[^fewer]: Medians of {' or '.join(map(str, fewer))} rounds.")
    compared = [line for line in lines if line.has_peers]
    if compared:
        parts.append(_peers(compared, peers))
    return "\n\n".join(parts) + "\n"


def _peers(lines: Sequence[Line], folder: Path | None) -> str:
    """Return the table of all task queues."""
    packages = list(dict.fromkeys(package for line in lines for package in line.figures))
    head = ("package", "version", *(f"{line.row.what}, {line.row.unit}" for line in lines))
    rows = [
        (
            package,
            _version(package, folder),
            *(_figure(line.figures.get(package)) for line in lines),
        )
        for package in packages
    ]
    return _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def write(path: Path, lines: Sequence[Line], *, rounds: int, peers: Path | None = None) -> None:
    """Put the table between the two comments in a file. Raises ValueError when it has none."""
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} has no {BEGIN} … {END} to put the table between")
    table = f"{BEGIN}\n{markdown(lines, rounds, peers)}{END}"
    path.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: table, text, flags=re.DOTALL))


def redis_version() -> str:
    """Return the version of the installed Redis server."""
    text = subprocess.run(
        ["redis-server", "--version"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return text.partition("v=")[2].split()[0]


def _version(name: str, folder: Path | None = None) -> str:
    if folder is not None and (folder / name).exists():
        for found in distributions(name=name, path=[str(folder / name)]):
            return found.version
    try:
        return version(name)
    except PackageNotFoundError:
        return "–"
