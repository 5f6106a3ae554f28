"""Draws the memory of a fleet in a soak: ``python docs/pictures/soak_memory.py``.

``python docs/pictures/soak_memory.py Redis=soak.csv RabbitMQ=other.csv`` takes new curves, as
``tests/chaos/test_soak.py`` writes them, thinned, into the file that it draws from. A test holds
the picture to that file.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

DATA = Path(__file__).with_name("soak-memory.csv")
PICTURE = Path(__file__).with_name("soak-memory.svg")
#: Columns of processes, in kB, and what they are called.
PROCESSES = {"client": "client", "main": "main process", "pool": "pool process", "beat": "beat"}
#: Points kept of a curve.
POINTS = 120

WIDTH, LEFT, RIGHT, TOP, HEIGHT, GAP = 760, 64, 110, 44, 170, 66
#: MB that a panel ends at, and between two of its lines.
HIGHEST, STEP = 100, 25

STYLE = """
text { font: 13px sans-serif; fill: #333 }
.small { font-size: 11px; fill: #777 }
.grid { stroke: #ddd }
polyline { fill: none; stroke-width: 1.5 }
.client { stroke: #b33 }
.main { stroke: #2b7a3d }
.pool { stroke: #36c }
.beat { stroke: #c80 }
"""

Row = dict[str, str]


def take(curves: dict[str, Path]) -> None:
    """Write curves down, thinned.

    - curves: name of the broker -> file that the soak wrote.
    """
    with DATA.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["broker", "round", "seconds", *PROCESSES])
        for broker, path in curves.items():
            with path.open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            step = max(1, len(rows) // POINTS)
            for number in sorted({*range(0, len(rows), step), len(rows) - 1}):
                row = rows[number]
                kept = [row[name] for name in ("seconds", *PROCESSES)]
                writer.writerow([broker, number + 1, *kept])


def read() -> dict[str, list[Row]]:
    """Return the curves by the names of brokers."""
    curves: dict[str, list[Row]] = {}
    with DATA.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["broker"], []).append(row)
    return curves


def draw(curves: dict[str, list[Row]]) -> str:
    """Return the picture as SVG: a panel for each broker."""
    height = TOP + len(curves) * (HEIGHT + GAP) - 12
    title = "Resident memory of each process in a soak"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="20">{title}, in MB</text>',
    ]
    for number, (broker, rows) in enumerate(curves.items()):
        parts += _panel(broker, rows, TOP + number * (HEIGHT + GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(broker: str, rows: list[Row], top: float) -> list[str]:
    bottom, right = top + HEIGHT, WIDTH - RIGHT
    seconds = max(int(row["seconds"]) for row in rows)

    def x(row: Row) -> float:
        return LEFT + (right - LEFT) * int(row["seconds"]) / seconds

    def y(megabytes: float) -> float:
        return bottom - HEIGHT * megabytes / HIGHEST

    minutes = seconds / 60
    caption = f"{broker}: {minutes:.0f} minutes, {int(rows[-1]['round']):,} rounds"
    parts = [f'<text x="{LEFT}" y="{bottom + 36}" class="small">{caption}</text>']
    for megabytes in range(0, HIGHEST + 1, STEP):
        line = y(megabytes)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{line}" x2="{right}" y2="{line}"/>')
        place = f'x="{LEFT - 8}" y="{line + 4}" text-anchor="end"'
        parts.append(f'<text {place} class="small">{megabytes}</text>')
    for minute in range(0, round(minutes) + 1, max(1, round(minutes / 10))):
        at = LEFT + (right - LEFT) * min(1.0, minute * 60 / seconds)
        parts.append(
            f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle" class="small">'
            f"{minute} min</text>"
        )
    for name, row_y in _label_places({name: y(_mb(rows[-1], name)) for name in PROCESSES}).items():
        points = " ".join(f"{x(row):.1f},{y(_mb(row, name)):.1f}" for row in rows)
        parts.append(f'<polyline class="{name}" points="{points}"/>')
        parts.append(f'<text x="{right + 8}" y="{row_y + 4:.1f}">{PROCESSES[name]}</text>')
    return parts


def _label_places(places: dict[str, float], apart: float = 15) -> dict[str, float]:
    """Return the heights of labels, moved so that none covers another."""
    moved: dict[str, float] = {}
    lowest = float("-inf")
    for name in sorted(places, key=places.__getitem__):
        lowest = moved[name] = max(places[name], lowest + apart)
    return moved


def _mb(row: Row, name: str) -> float:
    return int(row[name]) / 1000


def main() -> None:
    """Take the curves that are named, if any; write the picture beside this file."""
    named = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if named:
        take({broker: Path(path) for broker, path in named.items()})
    PICTURE.write_text(draw(read()), encoding="utf-8")


if __name__ == "__main__":
    main()
