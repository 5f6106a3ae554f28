"""``taskq upgrade settings``: give the settings in a file their new names."""

from __future__ import annotations

import difflib
import io
import shutil
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import CommandError

__all__ = ("upgrade",)

BACKUP_SUFFIX = ".orig"


@click.group()
@click.pass_context
@handle_preload_options
def upgrade(ctx: click.Context) -> None:
    """Bring a project to the names of today."""


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Upgrading Options", **kwargs)


@upgrade.command(cls=CeleryCommand)
@click.argument("filename", type=click.Path(exists=True, dir_okay=False, writable=True))
@_option("--django", is_flag=True, help="Write CELERY_TASK_…, for namespace='CELERY' in Django.")
@_option("--compat", is_flag=True, help="The same: upper case, with CELERY_ in front.")
@_option("--no-backup", is_flag=True, help=f"Keep no copy under the name FILENAME{BACKUP_SUFFIX}.")
@_option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.pass_context
def settings(
    ctx: click.Context, filename: str, django: bool, compat: bool, no_backup: bool, dry_run: bool
) -> None:
    """Rename settings such as CELERY_TASK_SERIALIZER to task_serializer in a Python file.

    Shows what it changes as a diff. Text in quotes and comments stays as it is.
    """
    path = Path(filename)
    with tokenize.open(filename) as file:
        before, encoding = file.read(), file.encoding
    try:
        after = renamed(before, _with_prefix if django or compat else _plain)
    except (tokenize.TokenError, SyntaxError) as exc:
        raise CommandError(f"{filename} is not Python: {exc}") from exc
    if after == before:
        ctx.find_root().obj.echo("No changes needed: the settings have their new names.")
        return
    click.echo(
        "".join(
            difflib.unified_diff(
                before.splitlines(keepends=True),
                after.splitlines(keepends=True),
                filename,
                f"{filename} (upgraded)",
            )
        ),
        nl=False,
    )
    if dry_run:
        return
    if not no_backup:
        click.echo(f"writing backup to {filename}{BACKUP_SUFFIX}...", err=True)
        shutil.copy2(path, f"{filename}{BACKUP_SUFFIX}")
    path.write_text(after, encoding=encoding, newline="")
    click.echo("Changes to your settings have been made!", err=True)


def renamed(source: str, new_name: Callable[[str], str | None]) -> str:
    """Return Python source in which names are replaced; strings and comments stay.

    - new_name: returns the new name of a name, None to keep it.

    Raises tokenize.TokenError or SyntaxError for what is not Python.
    """
    lines = source.splitlines(keepends=True)
    # From the end, so that the columns of what comes before stay right.
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        name = new_name(token.string) if token.type == tokenize.NAME else None
        if name is not None:
            row, start = token.start
            line = lines[row - 1]
            lines[row - 1] = f"{line[:start]}{name}{line[token.end[1] :]}"
    return "".join(lines)


def _plain(name: str) -> str | None:
    from taskq.app.defaults import _TO_NEW_KEY

    return _TO_NEW_KEY.get(name)


def _with_prefix(name: str) -> str | None:
    new = _plain(name)
    return f"CELERY_{new.upper()}" if new is not None else None
