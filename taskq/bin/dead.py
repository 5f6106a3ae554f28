"""``taskq dead``: show, repeat and delete dead letters."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import CommandError

__all__ = ("dead",)


@click.group(name="dead")
def dead() -> None:
    """Show, repeat and delete dead letters.

    These are messages of tasks that failed for good, were rejected, kept killing their worker, or
    could not be read. They are kept if `task_dead_letter_queue` is set.
    """


def _command(name: str) -> Any:
    return dead.command(name, cls=CeleryCommand)


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Dead Letter Options", **kwargs)


def _selection(command: Any) -> Any:
    for option in (
        _option("-t", "--task", help="Only letters of the task with this name."),
        _option("-r", "--reason", help="Only letters with this reason."),
    ):
        command = option(command)
    return command


def _letters(ctx: click.Context) -> Any:
    letters = ctx.obj.app.dead_letters
    if letters.queue is None:
        raise CommandError("There are no dead letters: task_dead_letter_queue is not set.")
    return letters


def _matching(
    names: tuple[str, ...], task: str | None, reason: str | None
) -> Callable[[Any], bool]:
    def matches(letter: Any) -> bool:
        return (
            (not names or any(letter.is_called(name) for name in names))
            and (task is None or letter.task == task)
            and (reason is None or letter.epitaph.reason == reason)
        )

    return matches


@_command("list")
@_selection
@_option("-n", "--limit", type=click.IntRange(min=1), default=100, help="Show at most so many.")
@_option("--counts", is_flag=True, help="Only say how many there are of each task and reason.")
@_option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@handle_preload_options
def list_(
    ctx: click.Context,
    task: str | None,
    reason: str | None,
    limit: int,
    counts: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Show dead letters, the oldest first."""
    letters = _letters(ctx)
    if counts:
        for (name, why), count in sorted(letters.counts().items()):
            ctx.obj.echo(f"{count:>7}  {why:<15} {name or '-'}")
        return
    found = letters.list(limit, _matching((), task, reason))
    if as_json:
        ctx.obj.echo(json.dumps([letter.as_dict() for letter in found], default=str))
        return
    for letter in found:
        epitaph = letter.epitaph
        died = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epitaph.died))
        ctx.obj.echo(
            f"{died}  {letter.task_id or letter.key}  {letter.task or '-'}  {epitaph.reason}  "
            f"{epitaph.exception}"
        )
    if not found:
        ctx.obj.echo("No dead letters.")


@_command("show")
@click.argument("name")
@_option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@handle_preload_options
def show(ctx: click.Context, name: str, as_json: bool, **_: Any) -> None:
    """Show everything about the letter NAME: its key or the id of its task."""
    try:
        letter = _letters(ctx).get(name)
    except KeyError as exc:
        raise CommandError(str(exc.args[0])) from exc
    described = letter.as_dict()
    described["body"] = letter.body.decode(errors="replace")
    if as_json:
        ctx.obj.echo(json.dumps(described, default=str))
        return
    for key, value in described.items():
        text = str(value)
        ctx.obj.echo(f"{key}:\n{text}" if "\n" in text else f"{key}: {text}")


@_command("retry")
@click.argument("names", nargs=-1)
@_selection
@_option("-a", "--all", "everything", is_flag=True, help="All letters.")
@_option("-Q", "--queue", help="Send to this queue, not to where they came from.")
@_option("-n", "--limit", type=click.IntRange(min=1), help="At most so many.")
@click.pass_context
@handle_preload_options
def retry(
    ctx: click.Context,
    names: tuple[str, ...],
    task: str | None,
    reason: str | None,
    everything: bool,
    queue: str | None,
    limit: int | None,
    **_: Any,
) -> None:
    """Send letters again as if they were new: those called NAMES, or all that match."""
    _require_selection(names, task, reason, everything)
    try:
        count = _letters(ctx).retry(_matching(names, task, reason), queue=queue, limit=limit)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    ctx.obj.echo(f"Sent {count} again.")
    _require_found(names, count)


@_command("purge")
@click.argument("names", nargs=-1)
@_selection
@_option("-a", "--all", "everything", is_flag=True, help="All letters.")
@_option("-n", "--limit", type=click.IntRange(min=1), help="At most so many.")
@click.pass_context
@handle_preload_options
def purge(
    ctx: click.Context,
    names: tuple[str, ...],
    task: str | None,
    reason: str | None,
    everything: bool,
    limit: int | None,
    **_: Any,
) -> None:
    """Delete letters for good: those called NAMES, or all that match."""
    _require_selection(names, task, reason, everything)
    count = _letters(ctx).purge(_matching(names, task, reason), limit=limit)
    ctx.obj.echo(f"Deleted {count}.")
    _require_found(names, count)


def _require_selection(*given: Any) -> None:
    if not any(given):
        raise CommandError("Say which: names, --task, --reason, or --all.")


def _require_found(names: tuple[str, ...], count: int) -> None:
    if names and count < len(names):
        raise CommandError(f"{len(names) - count} of the {len(names)} named were not found.")
