"""Commands that other packages add through entry points.

Asked by the root command for a name it does not know itself, and by its help.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

import click

#: Entry-point groups, the first wins where both have a name.
GROUPS = ("taskq.commands", "celery.commands")


def plugin_commands() -> dict[str, EntryPoint]:
    """Return the commands that installed packages declare, by name; none is imported."""
    found: dict[str, EntryPoint] = {}
    for group in reversed(GROUPS):
        found.update({point.name: point for point in entry_points(group=group)})
    return found


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
