"""What is measured: one function for each kind of measurement, and the rows they make.

A function gets a `Bench` and the package to measure, and returns figures by name. A `Row` says
which figure of which function it shows and what the goal is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Figures = dict[str, float]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    - figure: name of the figure.
    - what, unit: what the line says.
    - goal: for the ratio to Celery (``ratio``), or for the figure itself.
    - more: more is better.
    - ratio: the goal is about the ratio.
    """

    figure: str
    what: str
    unit: str
    goal: float | None = None
    more: bool = True
    ratio: bool = True


@dataclass(frozen=True)
class Measurement:
    """A function that measures, and the rows made of what it returns.

    - name: for ``--only``.
    - measure: called with a package; returns figures.
    - rows: what the table shows of them.
    - packages: who is measured.
    - rounds: most rounds, for what takes long and varies little; None for as many as asked for.
    """

    name: str
    measure: Callable[[str], Figures]
    rows: tuple[Row, ...]
    packages: tuple[str, ...] = ("taskq", "celery")
    rounds: int | None = None
