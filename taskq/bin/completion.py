"""``taskq completion``: the script that lets a shell complete our command line."""

from __future__ import annotations

import click

from taskq.bin.base import CeleryCommand
from taskq.bin.errors import CommandError

#: Where click looks for what is to be completed; it follows from the program's name.
VARIABLE = "_TASKQ_COMPLETE"


@click.command(cls=CeleryCommand)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes `taskq` in a shell.

    \b
    bash:  taskq completion bash > ~/.taskq-complete.bash, and in ~/.bashrc:
           source ~/.taskq-complete.bash
    zsh:   the same with zsh and ~/.zshrc
    fish:  taskq completion fish > ~/.config/fish/completions/taskq.fish
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise CommandError(f"This version of click does not complete in {shell}.")
    script = complete(ctx.find_root().command, {}, "taskq", VARIABLE)
    # `source` of the bash class runs bash to look at its version; ours may not be installed here.
    click.echo(script.source_template % script.source_vars())
