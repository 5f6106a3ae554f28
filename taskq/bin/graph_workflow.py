"""``taskq graph workflow``: a signature, or a workflow that runs, drawn."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from taskq.bin.base import CeleryCommand
from taskq.canvas import Signature
from taskq.canvas.drawing import draw_signature
from taskq.exceptions import ImproperlyConfigured
from taskq.result import GroupResult, result_from_tuple
from taskq.result.drawing import draw_result
from taskq.utils.drawing import FORMATS, Drawing, render
from taskq.utils.imports import symbol_by_name

__all__ = ("workflow",)

#: Ends of file names -> formats.
SUFFIXES = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".png": "png", ".svg": "svg"}
#: ``package.module:name`` or ``package.module.name``.
DOTTED_NAME = re.compile(r"[^\W\d]\w*([.:][^\W\d]\w*)+")


@click.command(cls=CeleryCommand)
@click.argument("target")
@click.option(
    "-f", "--format", type=click.Choice(FORMATS), help="Default: as the file is named, else dot."
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="A file.")
@click.option("--id", "is_id", is_flag=True, help="TARGET is an id, though it looks like a name.")
@click.option(
    "--most", type=click.IntRange(1), default=20, show_default=True, help="Tasks drawn of a group."
)
@click.pass_context
def workflow(
    ctx: click.Context, target: str, format: str | None, output: Path | None, is_id: bool, most: int
) -> None:
    """Draw a workflow.

    \b
    TARGET is
      proj.flows:nightly  the name of a signature, or of a function that returns one
      an id               of a task, or of a group that was saved: what has run, with states
      - or a file         JSON of result.as_tuple(): all of the workflow, with states
    """
    app = ctx.obj.app
    format = format or (SUFFIXES.get(output.suffix.lower(), "dot") if output else "dot")
    if format == "png" and output is None and sys.stdout.isatty():
        raise click.UsageError("A PNG is no text: name a file with --output.")
    if not is_id and DOTTED_NAME.fullmatch(target) and not Path(target).is_file():
        drawing = draw_signature(_named_signature(target), most=most)
    else:
        drawing = _draw_sent(app, target, most, is_id=is_id)
    try:
        drawn = render(drawing, format)
    except (ImproperlyConfigured, RuntimeError) as exc:
        raise click.ClickException(str(exc)) from exc
    if output is not None:
        output.write_bytes(drawn)
    else:
        click.echo(drawn, nl=False)


def _named_signature(name: str) -> Any:
    """Return the signature of that name."""
    try:
        found = symbol_by_name(name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise click.UsageError(
            f"{name!r} cannot be imported: {exc}. Use --id if it is the id of a task."
        ) from exc
    if callable(found) and not isinstance(found, Signature):
        found = found.s() if hasattr(found, "s") else found()
    if not isinstance(found, dict) or "task" not in found:
        raise click.UsageError(
            f"{name!r} is {found!r}: name a signature, or a function without arguments that "
            "returns one."
        )
    return found


def _draw_sent(app: Any, target: str, most: int, *, is_id: bool) -> Drawing:
    """Return the drawing of the workflow with that id, or that handle as JSON."""
    if not is_id and (target == "-" or Path(target).is_file()):
        text = sys.stdin.read() if target == "-" else Path(target).read_text("utf-8")
        try:
            handle = result_from_tuple(json.loads(text), app=app)
        except (ValueError, TypeError) as exc:
            raise click.UsageError(
                f"{target}: not what json.dumps(result.as_tuple()) returns: {exc}"
            ) from exc
    else:
        handle = GroupResult.restore(target, app=app) or app.AsyncResult(target)
    try:
        return draw_result(handle, most=most)
    except LookupError as exc:
        raise click.ClickException(str(exc.args[0])) from exc
