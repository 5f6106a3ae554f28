"""``taskq purge``: delete the messages that wait in queues."""

from __future__ import annotations

from json import dumps
from typing import Any

import click

from taskq.bin.base import (
    COMMA_SEPARATED_LIST,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Purging Options", **kwargs)


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@_option("-f", "--force", is_flag=True, help="Do not ask first.")
@_option(
    "-Q",
    "--queues",
    type=COMMA_SEPARATED_LIST,
    help="Names of the queues to purge, with commas between; all that the app knows if not given.",
)
@_option(
    "-X",
    "--exclude-queues",
    type=COMMA_SEPARATED_LIST,
    help="Names of the queues to leave alone, with commas between.",
)
@_option("-j", "--json", is_flag=True, help="Print how many each queue held as JSON; needs -f.")
@click.pass_context
@handle_preload_options
def purge(
    ctx: click.Context,
    force: bool,
    queues: list[str] | None,
    exclude_queues: list[str] | None,
    json: bool,
    **_: Any,
) -> None:
    """Delete all messages waiting in the app's task queues.

    The tasks in them are gone for good; those that workers hold are not touched.
    """
    app = ctx.obj.app
    names = sorted(set(queues or app.amqp.queues) - set(exclude_queues or ()))
    if json and not force:
        raise click.UsageError("--json prints nothing but data, so it can't ask first: add -f.")
    if not names and not json:
        ctx.obj.echo("No queues to purge: all are excluded.")
        return
    if not force:
        _ask(ctx, names)
    with app.connection_for_write() as connection:
        counts = {name: _purge_queue(connection, name) for name in names}
    if json:
        ctx.obj.echo(dumps(counts))
        return
    count = sum(counts.values())
    known = _plural(len(names), "known task queue")
    ctx.obj.echo(
        f"Purged {_plural(count, 'message')} from {known}."
        if count
        else f"No messages purged from {_plural(len(names), 'queue')}."
    )


def _ask(ctx: click.Context, names: list[str]) -> None:
    plural = "s" if len(names) > 1 else ""
    ctx.obj.secho("WARNING: ", fg="yellow", nl=False)
    ctx.obj.echo(
        f"This will remove all tasks from queue{plural}: {', '.join(names)}.\n"
        "         There is no undo for this operation!\n\n"
        "(to skip this prompt use the -f option)"
    )
    click.confirm("Are you sure you want to delete all tasks?", abort=True)


def _purge_queue(connection: Any, name: str) -> int:
    """Return how many messages ``name`` held; a queue that does not exist held none."""
    # A channel of its own: amqp closes the channel on which a missing queue was named.
    channel = connection.channel()
    try:
        return int(channel.queue_purge(name) or 0)
    except connection.channel_errors:
        return 0
    finally:
        connection.maybe_close_channel(channel)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
