"""``taskq status``, ``taskq inspect`` and ``taskq control``: talking with running workers."""

from __future__ import annotations

from typing import Any, Literal

import click

from taskq.bin.base import (
    COMMA_SEPARATED_LIST,
    EX_UNAVAILABLE,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)
from taskq.bin.errors import CommandError
from taskq.bin.remote import arguments_for, command_of, commands_of_type, list_of_commands

#: Seconds to wait for replies when neither the option nor the command says.
DEFAULT_TIMEOUT = 1.0

NO_REPLY = "No nodes replied within time constraint"


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Remote Control Options", **kwargs)


def _remote_options(f: Any) -> Any:
    for option in (
        _option("-j", "--json", is_flag=True, help="Print the replies as JSON."),
        _option(
            "-d",
            "--destination",
            type=COMMA_SEPARATED_LIST,
            help="Names of the workers to ask, with commas between; all if not given.",
        ),
        _option(
            "-t",
            "--timeout",
            type=float,
            default=DEFAULT_TIMEOUT,
            help="Seconds to wait for replies.",
        ),
    ):
        f = option(f)
    return f


def _names(type_: Literal["inspect", "control"]) -> Any:
    """Return what completes the name of a command in a shell."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in commands_of_type(type_) if name.startswith(incomplete)]

    return complete


def _list_option(type_: Literal["inspect", "control"]) -> Any:
    def show(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            formatter = ctx.make_formatter()
            with formatter.section(f"{type_.capitalize()} Commands"):
                formatter.write_dl(list_of_commands(type_))
            ctx.obj.echo(formatter.getvalue(), nl=False)
            ctx.exit()

    return click.option(
        "--list",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help=f"Show the {type_} commands and exit.",
    )


@click.command(cls=CeleryCommand)
@_remote_options
@click.pass_context
@handle_preload_options
def status(ctx: click.Context, timeout: float, destination: list[str] | None, json: bool) -> None:
    """Show which workers are online."""
    replies = _ask(ctx, "ping", {}, timeout, destination, say=not json, show_reply=False)
    _finish(ctx, replies, json)


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.argument("command", shell_complete=_names("inspect"))
@_list_option("inspect")
@_remote_options
@click.pass_context
@handle_preload_options
def inspect(
    ctx: click.Context,
    command: str,
    timeout: float,
    destination: list[str] | None,
    json: bool,
    **_: Any,
) -> None:
    """Ask running workers about themselves; they are not changed by it.

    `taskq inspect --list` shows the commands and their arguments.
    """
    _run(ctx, "inspect", command, timeout, destination, json)


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@click.argument("command", shell_complete=_names("control"))
@_list_option("control")
@_remote_options
@click.pass_context
@handle_preload_options
def control(
    ctx: click.Context,
    command: str,
    timeout: float,
    destination: list[str] | None,
    json: bool,
    **_: Any,
) -> None:
    """Change something in running workers.

    `taskq control --list` shows the commands and their arguments.
    """
    _run(ctx, "control", command, timeout, destination, json)


def _run(
    ctx: click.Context,
    type_: Literal["inspect", "control"],
    command: str,
    timeout: float,
    destination: list[str] | None,
    json: bool,
) -> None:
    info = command_of(type_, command)
    arguments = arguments_for(command, info, ctx.args)
    if ctx.get_parameter_source("timeout") is click.core.ParameterSource.DEFAULT:
        timeout = max(timeout, info.default_timeout)
    replies = _ask(ctx, command, arguments, timeout, destination, say=not json, show_reply=True)
    _finish(ctx, replies, json)


def _ask(
    ctx: click.Context,
    command: str,
    arguments: dict[str, Any],
    timeout: float,
    destination: list[str] | None,
    *,
    say: bool,
    show_reply: bool,
) -> dict[str, Any]:
    """Send the command and return the replies by worker; with ``say`` each is printed at once."""

    def on_reply(body: dict[str, Any]) -> None:
        for node, reply in body.items():
            state, text = ctx.obj.pretty(reply)
            indented = "\n".join(f"    {line}" for line in text.splitlines())
            ctx.obj.say_chat("->", f" {node}: {state}", indented, show_body=show_reply)

    replies: list[dict[str, Any]] | None = ctx.obj.app.control.broadcast(
        command,
        arguments=arguments,
        destination=destination,
        reply=True,
        timeout=timeout,
        callback=on_reply if say else None,
    )
    return {node: reply for body in replies or () for node, reply in body.items()}


def _finish(ctx: click.Context, replies: dict[str, Any], json: bool) -> None:
    if not replies:
        raise CommandError(NO_REPLY, EX_UNAVAILABLE)
    if json:
        from kombu.utils.json import dumps

        ctx.obj.echo(dumps(replies))
    elif not ctx.obj.quiet:
        count = len(replies)
        ctx.obj.echo(f"\n{count} {'node' if count == 1 else 'nodes'} online.")
