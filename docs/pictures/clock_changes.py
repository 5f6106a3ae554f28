"""Draws what crontabs do when clocks change: ``python docs/pictures/clock_changes.py``.

The times come from `taskq.schedules.crontab`, so the pictures show what beat does. A test holds the
files beside this one to what it draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

from taskq.schedules import crontab

ZONE = ZoneInfo("Europe/Berlin")
WIDTH, LEFT, TOP, ROW = 760, 120, 74, 34
HOUR = 150

STYLE = """
text { font: 13px sans-serif; fill: #333 }
.small { font-size: 11px; fill: #777 }
.name { font-family: monospace }
.axis { stroke: #999 }
.grid { stroke: #ddd }
.change { fill: #fbe3c0 }
.due { fill: #2b7a3d }
.not { fill: none; stroke: #b33; stroke-dasharray: 2 2 }
"""


@dataclass(frozen=True)
class Picture:
    """One change of clocks.

    Parameters:
        name: of the file.
        title: what happens.
        begin: when the picture begins, in UTC.
        change: when clocks change, in UTC.
        lines: crontabs to show.
        absent: times that they name on the clock, and at which nothing is sent, in UTC, with the
            reason.
    """

    name: str
    title: str
    begin: datetime
    change: datetime
    lines: tuple[str, ...]
    absent: tuple[tuple[str, datetime, str], ...] = ()

    @property
    def end(self) -> datetime:
        """When the picture ends, in UTC."""
        return self.begin + timedelta(hours=4)


PICTURES = (
    Picture(
        name="clocks-forward.svg",
        title="Clocks are set forward: Berlin, 29 March 2026, from 02:00 to 03:00",
        begin=datetime(2026, 3, 28, 23, 30, tzinfo=UTC),
        change=datetime(2026, 3, 29, 1, 0, tzinfo=UTC),
        lines=("30 1 * * *", "30 2 * * *", "0 3 * * *", "*/30 * * * *"),
    ),
    Picture(
        name="clocks-back.svg",
        title="Clocks are set back: Berlin, 25 October 2026, from 03:00 to 02:00",
        begin=datetime(2026, 10, 24, 22, 30, tzinfo=UTC),
        change=datetime(2026, 10, 25, 1, 0, tzinfo=UTC),
        lines=("30 1 * * *", "30 2 * * *", "0 3 * * *", "*/30 * * * *"),
        absent=(
            ("30 2 * * *", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "not again"),
            ("*/30 * * * *", datetime(2026, 10, 25, 1, 0, tzinfo=UTC), ""),
            ("*/30 * * * *", datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "not again"),
        ),
    ),
)


def due_times(line: str, begin: datetime, end: datetime) -> list[datetime]:
    """Return when a crontab of Berlin is due between two times."""
    conf = SimpleNamespace(beat_cron_starting_deadline=None)
    app = SimpleNamespace(timezone=ZONE, conf=conf, now=lambda: begin)
    minute, hour, day_of_month, month, day_of_week = line.split()
    cron = crontab(minute, hour, day_of_week, day_of_month, month, app=app)
    times = []
    at = cron.due_after(begin)
    while at < end:
        times.append(at)
        at = cron.due_after(at)
    return times


def draw(picture: Picture) -> str:
    """Return a picture as SVG."""
    bottom = TOP + ROW * len(picture.lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 14}" role="img">',
        f"<title>{picture.title}</title>",
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="18">{picture.title}</text>',
        '<text x="8" y="42">clock</text><text x="8" y="58" class="small">UTC</text>',
        *_ticks(picture, bottom),
    ]
    for number, line in enumerate(picture.lines):
        parts += _row(picture, line, TOP + ROW * number + ROW / 2)
    return "\n".join([*parts, "</svg>\n"])


def _x(picture: Picture, at: datetime) -> float:
    return LEFT + HOUR * (at - picture.begin) / timedelta(hours=1)


def _ticks(picture: Picture, bottom: float) -> list[str]:
    change = _x(picture, picture.change)
    parts = [f'<rect class="change" x="{change - 2}" y="28" width="4" height="{bottom - 28}"/>']
    at = picture.begin
    while at <= picture.end:
        x = _x(picture, at)
        parts.append(f'<line class="grid" x1="{x}" y1="64" x2="{x}" y2="{bottom}"/>')
        shown = f"{at.astimezone(ZONE):%H:%M}"
        if at == picture.change:
            old = (at - timedelta(minutes=1)).astimezone(ZONE).replace(tzinfo=None)
            shown = f"{old + timedelta(minutes=1):%H:%M}→{shown}"
        parts.append(f'<text x="{x}" y="42" text-anchor="middle">{shown}</text>')
        parts.append(f'<text x="{x}" y="58" text-anchor="middle" class="small">{at:%H:%M}</text>')
        at += timedelta(minutes=30)
    return parts


def _row(picture: Picture, line: str, y: float) -> list[str]:
    begin, end = _x(picture, picture.begin), _x(picture, picture.end)
    parts = [
        f'<text x="8" y="{y + 4}" class="name">{line}</text>',
        f'<line class="axis" x1="{begin}" y1="{y}" x2="{end}" y2="{y}"/>',
    ]
    for at in due_times(line, picture.begin, picture.end):
        parts.append(f'<circle class="due" cx="{_x(picture, at)}" cy="{y}" r="6"/>')
        named = _named_otherwise(line, at)
        if named:
            parts.append(_note(_x(picture, at), y, named))
    for absent, at, reason in picture.absent:
        if absent == line:
            parts.append(f'<circle class="not" cx="{_x(picture, at)}" cy="{y}" r="6"/>')
            if reason:
                parts.append(_note(_x(picture, at), y, reason))
    return parts


def _note(x: float, y: float, text: str) -> str:
    return f'<text x="{x + 10}" y="{y - 4}" class="small">{text}</text>'


def _named_otherwise(line: str, at: datetime) -> str:
    """Return the time that a line names, if the clock shows another one when it happens."""
    minute, hour = line.split()[:2]
    if not (minute.isdecimal() and hour.isdecimal()):
        return ""
    named = f"{int(hour):02}:{int(minute):02}"
    shown = f"{at.astimezone(ZONE):%H:%M}"
    return "" if named == shown else f"for {named}"


def main() -> None:
    """Write the pictures beside this file."""
    for picture in PICTURES:
        Path(__file__).with_name(picture.name).write_text(draw(picture), encoding="utf-8")


if __name__ == "__main__":
    main()
