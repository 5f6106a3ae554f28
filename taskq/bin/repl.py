"""A prompt at which the commands of a group are typed without the program's name.

Used by ``taskq repl`` and ``taskq amqp``.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator

import click

from taskq.bin.base import CeleryCommand, handle_preload_options
from taskq.utils.command_error import CeleryCommandException

#: Words that end the prompt, as does the end of the input.
LEAVE = frozenset({"exit", "quit", ":q", ":quit", ":exit"})


def run_repl(group: click.Group, ctx: click.Context, prompt: str) -> None:
    """Read commands of ``group`` until the input ends, and run each; errors are printed.

    - ctx: the group's context, which the commands share: app, connection and so on.
    - prompt: text in front of what is typed, shown only on a terminal.
    """
    _complete_names([*group.list_commands(ctx), "help", "exit"])
    for words in _lines(prompt):
        if words[0] in LEAVE:
            return
        if words[0] in ("help", "?"):
            click.echo(group.get_help(ctx))
            continue
        _run(group, ctx, words)


def _lines(prompt: str) -> Iterator[list[str]]:
    shown = prompt if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(shown)
        except EOFError:
            return
        except KeyboardInterrupt:
            click.echo()
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as exc:  # a quote without its end
            click.echo(f"Error: {exc}.", err=True)
            continue
        if words:
            yield words


def _run(group: click.Group, ctx: click.Context, words: list[str]) -> None:
    try:
        name, command, rest = group.resolve_command(ctx, list(words))
        if command is None:
            return
        with command.make_context(name, rest, parent=ctx) as inner:
            command.invoke(inner)
    except (click.exceptions.Exit, SystemExit):
        pass  # the command's status; the prompt goes on
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted!", err=True)
    except click.ClickException as exc:
        exc.show()
    except CeleryCommandException as exc:
        click.echo(f"Error: {exc}", err=True)


def _complete_names(names: list[str]) -> None:
    """Let the tab key complete the names of the commands."""
    try:
        import readline
    except ImportError:  # a Python built without readline
        return
    if not sys.stdin.isatty():
        return

    def complete(text: str, state: int) -> str | None:
        return next(iter([n for n in names if n.startswith(text)][state : state + 1]), None)

    readline.set_completer_delims(" \t")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")


@click.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def repl(ctx: click.Context) -> None:
    """Type commands without `taskq` in front; the app is loaded only once.

    `help` lists the commands, `exit` or Ctrl-D leaves.
    """
    root = ctx.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    run_repl(group, root, "taskq> ")
