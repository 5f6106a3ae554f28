"""``taskq amqp``: declare, bind, purge and delete queues; publish and fetch single messages.

Works with any broker that keeps its declarations. Each command is a thin layer over a channel.
"""

from __future__ import annotations

import pprint
from collections.abc import Callable
from typing import Any

import click

from taskq.bin.base import CeleryCommand, handle_preload_options
from taskq.bin.repl import run_repl

__all__ = ("amqp",)

#: Errors of channels and of arguments; those of connections end the command with advice.
_Call = Callable[[Any], Any]


def dump_message(message: Any) -> dict[str, Any] | None:
    """Return what there is to show of a message; None if there is no message."""
    if message is None:
        return None
    return {
        "body": message.body,
        "properties": message.properties,
        "delivery_info": message.delivery_info,
    }


class AMQPContext:
    """The connection and channel that the commands of one session share.

    Parameters:
        cli_context: what the commands print with, and their app.
    """

    def __init__(self, cli_context: Any) -> None:
        self.cli_context = cli_context
        self.connection: Any = None
        self.channel: Any = None

    @property
    def app(self) -> Any:
        """The app."""
        return self.cli_context.app

    def respond(self, retval: Any) -> None:
        """Print a result, as text or as data laid out for reading."""
        self.cli_context.echo(retval if isinstance(retval, str) else pprint.pformat(retval))

    def echo_error(self, exception: BaseException) -> None:
        """Print an error."""
        self.cli_context.error(f"{self.cli_context.ERROR}: {exception}")

    def echo_ok(self) -> None:
        """Print that it worked."""
        self.cli_context.echo(self.cli_context.OK)

    def reconnect(self) -> None:
        """Connect, in place of the connection there was."""
        self.close()
        connection = self.app.connection_for_write()
        self.cli_context.echo(f"-> connecting to {connection.as_uri()}.", err=True)
        # No endless retries at a prompt: the error says what to do.
        connection.ensure_connection(max_retries=1, timeout=connection.connect_timeout or 5)
        self.connection = connection
        self.channel = connection.default_channel
        self.cli_context.echo("-> connected.", err=True)

    def close(self) -> None:
        """Close the connection; what was fetched and not acknowledged goes back to its queue."""
        if self.connection is not None:
            self.connection.close()
        self.connection = self.channel = None

    def call(self, command: _Call) -> Any:
        """Call ``command(channel)``; an error is printed and ends the command with status 1."""
        if self.channel is None:
            self.reconnect()
        errors = (*self.connection.channel_errors, NotImplementedError, ValueError, KeyError)
        try:
            return command(self.channel)
        except self.connection.connection_errors:
            self.close()
            raise
        except errors as exc:
            self.echo_error(exc)
            self.close()  # amqp has closed the channel
            raise click.exceptions.Exit(1) from exc


@click.group(invoke_without_command=True)
@click.pass_context
@handle_preload_options
def amqp(ctx: click.Context) -> None:
    """Work on the broker directly: queues, exchanges, single messages.

    Without a command it reads commands from a prompt, over one connection: only there can a
    message that was fetched be acknowledged. Works with other brokers than AMQP too, as far as
    they keep declarations.
    """
    ctx.obj = AMQPContext(ctx.obj)
    ctx.call_on_close(ctx.obj.close)
    if ctx.invoked_subcommand is None:
        run_repl(amqp, ctx, "amqp> ")


@amqp.command(cls=CeleryCommand)
@click.pass_context
def repl(ctx: click.Context) -> None:
    """Read commands from a prompt."""
    parent = ctx.parent
    assert parent is not None
    run_repl(amqp, parent, "amqp> ")


@amqp.command(cls=CeleryCommand, name="exchange.declare")
@click.argument("exchange")
@click.argument("type")
@click.argument("passive", type=bool, default=False)
@click.argument("durable", type=bool, default=False)
@click.argument("auto_delete", type=bool, default=False)
@click.pass_obj
def exchange_declare(
    amqp_context: AMQPContext,
    exchange: str,
    type: str,
    passive: bool,
    durable: bool,
    auto_delete: bool,
) -> None:
    """Make an exchange, or with PASSIVE find out if it exists."""
    amqp_context.call(
        lambda channel: channel.exchange_declare(
            exchange=exchange, type=type, passive=passive, durable=durable, auto_delete=auto_delete
        )
    )
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="exchange.delete")
@click.argument("exchange")
@click.argument("if_unused", type=bool, default=False)
@click.pass_obj
def exchange_delete(amqp_context: AMQPContext, exchange: str, if_unused: bool) -> None:
    """Delete an exchange."""
    amqp_context.call(
        lambda channel: channel.exchange_delete(exchange=exchange, if_unused=if_unused)
    )
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="queue.bind")
@click.argument("queue")
@click.argument("exchange")
@click.argument("routing_key")
@click.pass_obj
def queue_bind(amqp_context: AMQPContext, queue: str, exchange: str, routing_key: str) -> None:
    """Bind a queue to an exchange."""
    amqp_context.call(
        lambda channel: channel.queue_bind(queue=queue, exchange=exchange, routing_key=routing_key)
    )
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="queue.declare")
@click.argument("queue")
@click.argument("passive", type=bool, default=False)
@click.argument("durable", type=bool, default=False)
@click.argument("auto_delete", type=bool, default=False)
@click.pass_obj
def queue_declare(
    amqp_context: AMQPContext, queue: str, passive: bool, durable: bool, auto_delete: bool
) -> None:
    """Make a queue, or with PASSIVE find out how many messages and consumers it has."""
    found = amqp_context.call(
        lambda channel: channel.queue_declare(
            queue=queue, passive=passive, durable=durable, auto_delete=auto_delete
        )
    )
    amqp_context.respond(f"queue:{found[0]} messages:{found[1]} consumers:{found[2]}")
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="queue.delete")
@click.argument("queue")
@click.argument("if_unused", type=bool, default=False)
@click.argument("if_empty", type=bool, default=False)
@click.pass_obj
def queue_delete(amqp_context: AMQPContext, queue: str, if_unused: bool, if_empty: bool) -> None:
    """Delete a queue and what is in it."""
    count = amqp_context.call(
        lambda channel: channel.queue_delete(queue=queue, if_unused=if_unused, if_empty=if_empty)
    )
    amqp_context.respond(f"{count or 0} messages deleted.")
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="queue.purge")
@click.argument("queue")
@click.pass_obj
def queue_purge(amqp_context: AMQPContext, queue: str) -> None:
    """Delete the messages waiting in a queue."""
    count = amqp_context.call(lambda channel: channel.queue_purge(queue=queue))
    amqp_context.respond(f"{count or 0} messages deleted.")
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="basic.get")
@click.argument("queue")
@click.argument("no_ack", type=bool, default=False)
@click.pass_obj
def basic_get(amqp_context: AMQPContext, queue: str, no_ack: bool) -> None:
    """Fetch a message; unless NO_ACK, it goes back when the connection ends."""
    message = amqp_context.call(lambda channel: channel.basic_get(queue, no_ack=no_ack))
    if message is None:
        amqp_context.respond("- empty -")
    else:
        amqp_context.respond(dump_message(message))
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="basic.publish")
@click.argument("msg")
@click.argument("exchange")
@click.argument("routing_key")
@click.argument("mandatory", type=bool, default=False)
@click.argument("immediate", type=bool, default=False)
@click.pass_obj
def basic_publish(
    amqp_context: AMQPContext,
    msg: str,
    exchange: str,
    routing_key: str,
    mandatory: bool,
    immediate: bool,
) -> None:
    """Publish a text."""
    from kombu import Producer

    def publish(channel: Any) -> None:
        Producer(channel).publish(
            msg,
            exchange=exchange,
            routing_key=routing_key,
            mandatory=mandatory,
            immediate=immediate,
            serializer="raw",
            content_type="text/plain",
            content_encoding="utf-8",
        )

    amqp_context.call(publish)
    amqp_context.echo_ok()


@amqp.command(cls=CeleryCommand, name="basic.ack")
@click.argument("delivery_tag")
@click.pass_obj
def basic_ack(amqp_context: AMQPContext, delivery_tag: str) -> None:
    """Acknowledge a message fetched before at the same prompt, by its delivery tag."""

    def acknowledge(channel: Any) -> None:
        tag = int(delivery_tag) if delivery_tag.isdigit() else delivery_tag
        channel.basic_ack(tag)

    amqp_context.call(acknowledge)
    amqp_context.echo_ok()
