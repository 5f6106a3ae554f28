"""``taskq logtool``: what the logs of workers say about tasks."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

import click

from taskq.bin.base import CeleryCommand, handle_preload_options

__all__ = ("logtool",)

#: The first line of an entry in the worker's log format: ``[time: LEVEL/process] text``.
_ENTRY = re.compile(r"^\[[\d\- :,.]+: (?P<level>\w+)/(?P<process>[^\]]+)\] (?P<text>.*)$")
_RECEIVED = re.compile(r"^Task (?P<name>\S+?)\[(?P<id>[^\]]+)\] received")
#: What ends a task's life in this worker, behind its name and id.
_ENDED = re.compile(
    r"^(?:Task )?(?P<name>\S+?)\[(?P<id>[^\]]+)\] "
    r"(?P<how>succeeded|raised|ignored|rejected|retry|Acknowledg|INTERNAL ERROR)"
)
_DISCARDED = re.compile(r"^Discarding revoked task: (?P<name>\S+?)\[(?P<id>[^\]]+)\]")
_TASK_LOG = re.compile(r"^(?:Task )?\S+\[[0-9A-Za-z_.\-]{4,}\]")


@dataclass
class Entry:
    """One entry of a log: its first line, its parts, and the lines below (tracebacks)."""

    line: str
    level: str
    text: str
    more: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join((self.line, *self.more))


def entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of a log; lines that belong to none are left out."""
    entry: Entry | None = None
    for raw in lines:
        line = raw.rstrip("\n")
        match = _ENTRY.match(line)
        if match is None:
            if entry is not None:
                entry.more.append(line)
            continue
        if entry is not None:
            yield entry
        entry = Entry(line, match["level"], match["text"])
    if entry is not None:
        yield entry


@dataclass
class Audit:
    """What became of the tasks in logs."""

    received: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    errors: int = 0

    def feed(self, entry: Entry) -> None:
        """Take one entry into account."""
        match = _RECEIVED.match(entry.text)
        if match is not None:
            # A task that is retried is received again under the same id.
            self.received[match["id"]] = match["name"]
            self.ended.pop(match["id"], None)
            self.types[match["name"]] += 1
            return
        match = _ENDED.match(entry.text) or _DISCARDED.match(entry.text)
        if match is not None:
            self.ended[match["id"]] = match.groupdict().get("how") or "revoked"
            self.errors += is_task_error(entry)

    def incomplete(self) -> Iterator[tuple[str, str]]:
        """Yield id and name of each task that was received and has not ended."""
        return ((id, name) for id, name in self.received.items() if id not in self.ended)

    def counts(self) -> dict[str, int]:
        """Return how many tasks there were, and what became of them."""
        return {
            "total": sum(self.types.values()),
            "errors": self.errors,
            "success": sum(how == "succeeded" for how in self.ended.values()),
            "completed": len(self.ended),
        }

    def report(self) -> str:
        """Return the counts as text."""
        lines = [
            "Report",
            "======",
            *(f"Task {what}: {count}" for what, count in self.counts().items()),
            "",
            "Tasks",
            "=====",
            *(f"{name}: {count}" for name, count in self.types.most_common()),
        ]
        return "\n".join(lines)


def is_task_error(entry: Entry) -> bool:
    """Return whether an entry tells of a task that failed."""
    match = _ENDED.match(entry.text)
    return match is not None and match["how"] in ("raised", "INTERNAL ERROR")


def _has_traceback(entry: Entry) -> bool:
    return any(line.startswith("Traceback ") for line in entry.more)


def _not_about_a_task(entry: Entry) -> bool:
    return not (_TASK_LOG.match(entry.text) or _DISCARDED.match(entry.text))


def _audit(files: Iterable[IO[str]]) -> Audit:
    audit = Audit()
    for file in files:
        for entry in entries(file):
            audit.feed(entry)
    return audit


def _print(files: Iterable[IO[str]], wanted: Callable[[Entry], bool]) -> None:
    for file in files:
        for entry in entries(file):
            if wanted(entry):
                click.echo(str(entry))


_files = click.argument("files", nargs=-1, type=click.File("r", errors="replace"), required=True)
_json = click.option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
@click.pass_context
@handle_preload_options
def logtool(ctx: click.Context) -> None:
    """Find out from workers' logs what became of tasks.

    The logs must have been written with level INFO or DEBUG in the default format; - is the
    standard input.
    """


@logtool.command(cls=CeleryCommand)
@_files
@_json
def stats(files: tuple[IO[str], ...], as_json: bool) -> None:
    """Count tasks, by name and by outcome."""
    audit = _audit(files)
    if as_json:
        click.echo(json.dumps({**audit.counts(), "tasks": dict(audit.types.most_common())}))
    else:
        click.echo(audit.report())


@logtool.command(cls=CeleryCommand)
@_files
def traces(files: tuple[IO[str], ...]) -> None:
    """Show what has a traceback."""
    _print(files, _has_traceback)


@logtool.command(cls=CeleryCommand)
@_files
def errors(files: tuple[IO[str], ...]) -> None:
    """Show the tasks that failed."""
    _print(files, is_task_error)


@logtool.command(cls=CeleryCommand)
@_files
@_json
def incomplete(files: tuple[IO[str], ...], as_json: bool) -> None:
    """Show the tasks that were received and never ended."""
    tasks = list(_audit(files).incomplete())
    if as_json:
        click.echo(json.dumps([{"id": id, "name": name} for id, name in tasks]))
        return
    for id, name in tasks:
        click.echo(f"Did not complete: {name}[{id}]")


@logtool.command(cls=CeleryCommand)
@_files
def debug(files: tuple[IO[str], ...]) -> None:
    """Show what is not about a task."""
    _print(files, _not_about_a_task)
