"""``taskq migrate``: move tasks that wait from one broker to another."""

from __future__ import annotations

from typing import Any

import click

from taskq.bin.base import (
    COMMA_SEPARATED_LIST,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Migration Options", **kwargs)


@click.command(cls=CeleryCommand)
@click.argument("source")
@click.argument("destination")
@_option("-n", "--limit", type=int, help="Number of tasks after which to stop.")
@_option(
    "-t", "--timeout", type=float, default=1.0, help="Seconds without a task after which to stop."
)
@_option("-a", "--ack-messages", is_flag=True, help="Remove the tasks from the source broker.")
@_option("-T", "--tasks", type=COMMA_SEPARATED_LIST, help="Names of the tasks to take.")
@_option("-Q", "--queues", type=COMMA_SEPARATED_LIST, help="Names of the queues to take from.")
@_option("-F", "--forever", is_flag=True, help="Go on until interrupted.")
@click.pass_context
@handle_preload_options
def migrate(
    ctx: click.Context,
    source: str,
    destination: str,
    limit: int | None,
    timeout: float,
    ack_messages: bool,
    tasks: list[str] | None,
    queues: list[str] | None,
    forever: bool,
) -> None:
    """Copy waiting tasks from the broker SOURCE to the broker DESTINATION (URLs).

    With --ack-messages they are moved: gone from the source once the destination has them.
    """
    from taskq.contrib.migrate import migrate_tasks

    app = ctx.obj.app

    def show(state: Any, body: Any, message: Any) -> None:
        ctx.obj.echo(f"Migrating task {state.count}/{state.strtotal}: {describe(body, message)}")

    with app.connection(source) as origin, app.connection(destination) as target:
        state = migrate_tasks(
            origin,
            target,
            app=app,
            callback=show,
            limit=limit,
            timeout=timeout,
            ack_messages=ack_messages,
            tasks=tasks,
            queues=queues,
            forever=forever,
        )
    ctx.obj.echo(f"Migrated {state.count} tasks.")


def describe(body: Any, message: Any) -> str:
    """Return name and id of the task in a message, for reading."""
    from taskq.contrib.migrate import task_of

    name, id = task_of(body, message)
    return f"{name}[{id}]"
