"""The root command: global options, the app, and handing over to a subcommand.

Called by ``taskq.__main__``, by ``app.start`` and by ``app.worker_main``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from taskq.bin.commands import COMMANDS
from taskq.bin.context import CLIContext
from taskq.bin.detached import in_background
from taskq.bin.group import LazyGroup
from taskq.bin.options import ENV_PREFIX, CeleryOption
from taskq.bin.reorder import global_options_first

#: Global option -> the names under which the app and its children find its value.
_ENVIRONMENT = {
    "broker": ("TASKQ_BROKER_URL", "CELERY_BROKER_URL"),
    "result_backend": ("TASKQ_RESULT_BACKEND", "CELERY_RESULT_BACKEND"),
    "loader": ("TASKQ_LOADER", "CELERY_LOADER"),
    "config": ("TASKQ_CONFIG_MODULE", "CELERY_CONFIG_MODULE"),
    "skip_checks": ("TASKQ_SKIP_CHECKS", "CELERY_SKIP_CHECKS"),
}


class RootCommand(LazyGroup):
    """The group of all commands; global options are taken before or after the subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line after moving global options in front."""
        ctx.meta["taskq.argv"] = tuple(args)
        return super().parse_args(ctx, global_options_first(ctx, self, args))


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Global Options", **kwargs)


@click.group(
    cls=RootCommand, table=COMMANDS, name="taskq", invoke_without_command=True, add_help_option=True
)
@_option(
    "-A",
    "--app",
    envvar=["TASKQ_APP", "CELERY_APP", "APP"],
    type=click.UNPROCESSED,  # `app.start` gives the app itself as default
    help="The app: a module such as 'proj', or 'proj.tasks:app'.",
)
@_option("-b", "--broker", envvar=["BROKER_URL"], help="URL of the message broker.")
@_option("--result-backend", envvar=["RESULT_BACKEND"], help="URL of the result backend.")
@_option("--loader", envvar=["LOADER"], help="Class that loads the settings and the tasks.")
@_option("--config", envvar=["CONFIG_MODULE"], help="Module that holds the settings.")
@_option(
    "--workdir",
    type=click.Path(file_okay=False),
    help="Change to this directory first.",
)
@_option(
    "-C",
    "--no-color",
    is_flag=True,
    default=lambda: bool(os.environ.get("NO_COLOR")),  # any text counts, as no-color.org says
    help="Print without colours.",
)
@_option("-q", "--quiet", is_flag=True, help="Print less.")
@_option("--version", is_flag=True, help="Print the version and exit.")
@_option(
    "--skip-checks",
    is_flag=True,
    default=lambda: bool(os.environ.get("SKIP_CHECKS")),  # any text counts
    help="Do not run Django's checks when a worker starts.",
)
@click.pass_context
def celery(
    ctx: click.Context,
    app: Any,
    broker: str | None,
    result_backend: str | None,
    loader: str | None,
    config: str | None,
    workdir: str | None,
    no_color: bool,
    quiet: bool,
    version: bool,
    skip_checks: bool,
) -> None:
    """Send, run and watch tasks.

    `taskq COMMAND --help` explains a command.
    """
    if version:
        from taskq import VERSION_BANNER

        click.echo(VERSION_BANNER)
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit()
    if workdir and not in_background():
        _change_directory(workdir)
    _import_from_here()
    _export(
        broker=broker,
        result_backend=result_backend,
        loader=loader,
        config=config,
        skip_checks="true" if skip_checks else None,
    )
    if isinstance(app, str) and app:
        from taskq.bin.loading import load_app  # start-up: `--help` loads no app

        app = load_app(app)
    ctx.obj = CLIContext(app=app, no_color=no_color, workdir=workdir, quiet=quiet)


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except OSError as exc:
        raise click.BadParameter(
            f"cannot change to {path!r}: {exc.strerror}.", param_hint="--workdir"
        ) from exc


def _import_from_here() -> None:
    """Have what settings and options name, and what tasks import, looked for here too, at last."""
    try:
        here = os.getcwd()
    except FileNotFoundError:
        return  # it was deleted under us
    if here not in sys.path:
        sys.path.append(here)


def _export(**values: str | None) -> None:
    """Put options into the environment, where the settings of any process of ours see them."""
    for option, value in values.items():
        if value:
            for name in _ENVIRONMENT[option]:
                os.environ[name] = value


def main() -> int:
    """Run the command line of this process; never returns but with click's exit."""
    return int(celery(prog_name="taskq", auto_envvar_prefix=ENV_PREFIX) or 0)
