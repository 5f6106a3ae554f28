"""``taskq report``: versions, platform and settings, for bug reports."""

from __future__ import annotations

import click

from taskq.bin.base import CeleryCommand, handle_preload_options


@click.command(cls=CeleryCommand)
@click.pass_context
@handle_preload_options
def report(ctx: click.Context) -> None:
    """Show versions, platform and settings; secrets in them are masked."""
    ctx.obj.echo(ctx.obj.app.bugreport())
