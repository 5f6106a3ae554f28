"""Commands that other packages add through entry points.

Asked by the root command for a name it does not know itself, and by its help.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Entry-point groups, the first wins where both have a name.
GROUPS = ("taskq.commands", "celery.commands")


def plugin_commands() -> dict[str, EntryPoint]:
    """Return the commands that installed packages declare, by name; none is imported."""
    from importlib.metadata import entry_points  # start-up: costs as much as click

    found: dict[str, EntryPoint] = {}
    for group in reversed(GROUPS):
        found.update({point.name: point for point in entry_points(group=group)})
    return found


def any_declared() -> bool:
    """Return whether an installed package seems to declare a command.

    Looks for the groups' names in the packages' files, which takes a tenth of reading them
    properly; most installations have no plugin, and ``taskq --help`` should be quick.
    """
    sections = tuple(f"[{group}]".encode() for group in GROUPS)
    return any(section in content for content in _entry_point_files() for section in sections)


def load_plugin(point: EntryPoint) -> click.Command:
    """Import a plugin's command.

    Raises click.ClickException that names the package when it cannot be imported.
    """
    try:
        command = point.load()
    except Exception as exc:  # whatever the plugin's module raises
        raise click.ClickException(
            f"the command {point.name!r} comes from {_origin(point)}, which could not be loaded: "
            f"{type(exc).__name__}: {exc}\nMend or uninstall that package."
        ) from exc
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"the command {point.name!r} comes from {_origin(point)}, where {point.value} is "
            f"{type(command).__name__}, not a click command."
        )
    return command


def plugin_help(point: EntryPoint) -> str:
    """Return the line shown for a plugin in the list of commands, without importing it."""
    return f"From {_origin(point)}."


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value


def _entry_point_files() -> Iterator[bytes]:
    """Yield the contents of the files in which installed packages declare entry points."""
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue  # no directory: an archive, or not there
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                try:
                    with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                        yield file.read()
                except OSError:
                    continue  # it declares none
