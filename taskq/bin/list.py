"""``taskq list``: what the broker has."""

from __future__ import annotations

from typing import Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import CommandError


@click.group(name="list")
def list_() -> None:
    """Show what the broker has."""


@list_.command(cls=CeleryCommand)
@click.option("-j", "--json", is_flag=True, cls=CeleryOption, help="Print JSON.")
@click.pass_context
@handle_preload_options
def bindings(ctx: click.Context, json: bool) -> None:
    """Show which queues are bound to which exchanges, and with what keys."""
    app = ctx.obj.app
    with app.connection_for_read() as connection:
        app.amqp.TaskConsumer(connection).declare()
        rows = _rows(connection)
    if json:
        from kombu.utils.json import dumps

        ctx.obj.echo(dumps(rows))
        return
    titles = {"queue": "Queue", "exchange": "Exchange", "routing_key": "Routing Key"}
    rule = dict.fromkeys(titles, "-" * 16)
    for row in [titles, rule, *rows]:
        ctx.obj.echo(f"{row['queue']:<28} {row['exchange']:<28} {row['routing_key']}")


def _rows(connection: Any) -> list[dict[str, str]]:
    try:
        found = connection.manager.get_bindings()
    except NotImplementedError as exc:
        raise CommandError(
            f"The broker at {connection.as_uri()} cannot list its bindings."
        ) from exc
    except ImportError as exc:
        raise CommandError(
            f"Listing the bindings of {connection.as_uri()} asks the broker's management "
            f"interface, and needs the package {exc.name}: pip install {exc.name}"
        ) from exc
    except connection.connection_errors as exc:
        raise CommandError(
            f"The management interface of the broker did not answer: {exc}\n"
            "RabbitMQ needs its management plugin: rabbitmq-plugins enable rabbitmq_management"
        ) from exc
    return [
        {
            "queue": binding["destination"],
            "exchange": binding["source"] or "(default)",
            "routing_key": binding["routing_key"],
        }
        for binding in found
    ]
