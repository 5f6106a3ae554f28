"""``taskq call``: send a task by name."""

from __future__ import annotations

from datetime import datetime
from json import dumps
from typing import Any

import click

from taskq.bin.base import (
    ISO8601,
    ISO8601_OR_FLOAT,
    JSON_ARRAY,
    JSON_OBJECT,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)


def _calling(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Calling Options", **kwargs)


def _routing(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Routing Options", **kwargs)


@click.command(cls=CeleryCommand)
@click.argument("name")
@_calling("-a", "--args", type=JSON_ARRAY, default="[]", help="Positional arguments.")
@_calling("-k", "--kwargs", type=JSON_OBJECT, default="{}", help="Keyword arguments.")
@_calling("--eta", type=ISO8601, help="When to run it at the earliest.")
@_calling("--countdown", type=float, help="Seconds from now to run it at the earliest.")
@_calling("--expires", type=ISO8601_OR_FLOAT, help="When, or in how many seconds, it expires.")
@_calling("--serializer", default="json", help="How the arguments are serialized.")
@_routing("--queue", help="Queue to send it to.")
@_routing("--exchange", help="Exchange to send it to.")
@_routing("--routing-key", help="Routing key to send it with.")
@_calling("-j", "--json", is_flag=True, help="Print the id as JSON.")
@click.pass_context
@handle_preload_options
def call(
    ctx: click.Context,
    name: str,
    args: list[Any],
    kwargs: dict[str, Any],
    eta: datetime | None,
    countdown: float | None,
    expires: datetime | float | None,
    serializer: str,
    queue: str | None,
    exchange: str | None,
    routing_key: str | None,
    json: bool,
) -> None:
    """Send the task NAME and print its id.

    The task need not be known here, only to a worker.
    """
    result = ctx.obj.app.send_task(
        name,
        args=args,
        kwargs=kwargs,
        countdown=countdown,
        serializer=serializer,
        queue=queue,
        exchange=exchange,
        routing_key=routing_key,
        eta=eta,
        expires=expires,
    )
    ctx.obj.echo(dumps({"id": result.id}) if json else result.id)
