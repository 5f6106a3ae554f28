"""``taskq upgrade``: move a project from Celery, and give settings their new names."""

from __future__ import annotations

import difflib
import shutil
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import CommandError
from taskq.contrib.upgrade.renaming import new_setting, prefixed_setting, renamed

if TYPE_CHECKING:
    from taskq.contrib.upgrade.project import FileChange

__all__ = ("upgrade",)

BACKUP_SUFFIX = ".orig"

NO_LIBCST = (
    "Rewriting a project needs the package 'libcst', which is not installed: "
    "pip install taskq[upgrade]"
)


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
        after = renamed(before, prefixed_setting if django or compat else new_setting)
    except (tokenize.TokenError, SyntaxError) as exc:
        raise CommandError(f"{filename} is not Python: {exc}") from exc
    if after == before:
        ctx.find_root().obj.echo("No changes needed: the settings have their new names.")
        return
    click.echo(_diff(filename, before, after), nl=False)
    if dry_run:
        return
    _write(path, after, encoding, backup=not no_backup)
    click.echo("Changes to your settings have been made!", err=True)


@upgrade.command(cls=CeleryCommand)
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@_option("-y", "--yes", is_flag=True, help="Write without asking.")
@_option("--no-backup", is_flag=True, help=f"Keep no copies under the names FILE{BACKUP_SUFFIX}.")
@_option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.pass_context
def project(
    ctx: click.Context, paths: tuple[Path, ...], yes: bool, no_backup: bool, dry_run: bool
) -> None:
    """Rewrite imports and settings of a project from Celery to taskq.

    PATHS are Python files and directories, the current one if none is given. A diff is shown, and
    nothing is written before you agree. Imports of Celery's modules become those of taskq's, as do
    dotted names of its classes and functions in quotes; settings with old names get their new
    ones. Names of tasks, queues and loggers stay.
    """
    changes = _planned(paths or (Path(),))
    for change in changes:
        click.echo(_diff(str(change.path), change.before, change.after), nl=False)
    remarks = [f"{c.path}:{line}: {text}" for c in changes for line, text in c.remarks]
    for remark in remarks:
        click.echo(f"{remark}: left as it is, change it by hand", err=True)
    changes = [change for change in changes if change.after != change.before]
    if not changes:
        ctx.find_root().obj.echo("No changes needed.")
    elif not dry_run and (yes or click.confirm(f"Change {_files(len(changes))}?", err=True)):
        for change in changes:
            _write(change.path, change.after, change.encoding, backup=not no_backup)
        click.echo(f"Changed {_files(len(changes))}. Next: taskq -A proj report", err=True)
    ctx.exit(1 if remarks else 0)


def _planned(paths: Iterable[Path]) -> list[FileChange]:
    try:
        from taskq.contrib.upgrade.project import NotPython, plan, python_files
    except ModuleNotFoundError as exc:
        if (exc.name or "").split(".")[0] != "libcst":
            raise
        raise CommandError(NO_LIBCST) from exc
    try:
        return plan(python_files(paths))
    except NotPython as exc:
        raise CommandError(f"{exc}\nNothing was changed.") from exc


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        name,
        f"{name} (upgraded)",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _write(path: Path, text: str, encoding: str, *, backup: bool) -> None:
    if backup:
        copy = f"{path}{BACKUP_SUFFIX}"
        click.echo(f"writing backup to {copy}...", err=True)
        shutil.copy2(path, copy)
    path.write_text(text, encoding=encoding, newline="")


def _files(count: int) -> str:
    return "one file" if count == 1 else f"{count} files"
