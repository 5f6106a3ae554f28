"""A group whose commands are rows of a table, imported when one is used.

Base of the root command; so ``taskq --help`` imports no subcommand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import click

from taskq.bin.plugins import any_declared, load_plugin, plugin_commands, plugin_help


class Row(NamedTuple):
    """Where a command is defined (``"package.module:attribute"``) and its line in the help."""

    target: str
    help: str


class LazyCommands(MutableMapping[str, click.Command]):
    """Commands by name; one that stands in the table is imported when it is first asked for."""

    def __init__(self, table: Mapping[str, Row]) -> None:
        self.table = table
        self._loaded: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._loaded:
            module, _, attribute = self.table[name].target.partition(":")
            self._loaded[name] = getattr(import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        yield from sorted({*self.table, *self._loaded})

    def __len__(self) -> int:
        return len({*self.table, *self._loaded})

    def __contains__(self, name: object) -> bool:
        return name in self._loaded or name in self.table

    def short_help(self, name: str, limit: int) -> str | None:
        """Return the help line of ``name`` without importing it; None to leave it out."""
        if name in self.table:
            return self.table[name].help
        command = self._loaded[name]
        return None if command.hidden else command.get_short_help_str(limit)


class LazyGroup(click.Group):
    """A group with lazy commands, plugin commands, and suggestions for a mistyped name.

    Parameters (beyond click's):
        table: command name -> where it is defined and its help line.
    """

    commands: LazyCommands

    def __init__(self, *args: Any, table: Mapping[str, Row], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands = LazyCommands(table)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of our commands and of the plugins', sorted."""
        return sorted({*self.commands, *_plugins_for_help()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by name, or None; plugins are looked up only for names not ours."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        point = plugin_commands().get(cmd_name)
        if point is None:
            return None
        self.commands[cmd_name] = load_plugin(point)
        return self.commands[cmd_name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table and the plugins' names, importing none."""
        lines = {name: plugin_help(point) for name, point in _plugins_for_help().items()}
        limit = formatter.width - 6 - max(map(len, [*self.commands, *lines]), default=0)
        for name in self.commands:
            text = self.commands.short_help(name, limit)
            if text is not None:
                lines[name] = text
        with formatter.section("Commands"):
            formatter.write_dl(sorted(lines.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that ``args`` start with; a mistyped name is told what is near."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = self._near(ctx, args[0])
            if not near:
                raise
            hint = "\n    ".join(["Did you mean one of these?", *near])
            raise click.UsageError(f"{error.message}\n\n{hint}", ctx) from None

    def _near(self, ctx: click.Context, name: str) -> list[str]:
        from difflib import get_close_matches  # only for a mistake

        return get_close_matches(name, self.list_commands(ctx), cutoff=0.5)


def _plugins_for_help() -> Mapping[str, Any]:
    return plugin_commands() if any_declared() else {}
