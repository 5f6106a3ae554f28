"""``taskq report``: versions, platform and settings, for bug reports."""

from __future__ import annotations

from json import dumps

import click

from taskq.app.report import facts
from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options


@click.command(cls=CeleryCommand)
@click.option("-j", "--json", is_flag=True, cls=CeleryOption, help="Print it as JSON.")
@click.pass_context
@handle_preload_options
def report(ctx: click.Context, json: bool) -> None:
    """Show versions, platform and settings; secrets in them are masked."""
    app = ctx.obj.app
    ctx.obj.echo(dumps(facts(app), indent=4, default=repr) if json else app.bugreport())
