"""The commands workers answer: which there are, and their arguments read from words.

Used by ``taskq inspect`` and ``taskq control``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import click

CommandType = Literal["inspect", "control"]


def commands_of_type(type_: CommandType) -> dict[str, Any]:
    """Return the visible commands of one type by name, with what their panel says of them."""
    return {
        name: info
        for name, info in sorted(_panel_meta().items())
        if info.type == type_ and info.visible
    }


def list_of_commands(type_: CommandType) -> list[tuple[str, str]]:
    """Return each command with its arguments, and its help line."""
    return [
        (f"{name} {info.signature or ''}".strip(), info.help or "")
        for name, info in commands_of_type(type_).items()
    ]


def command_of(type_: CommandType, command: str) -> Any:
    """Return what the panel says of ``command``.

    Raises click.UsageError, with the names there are, for one it does not know.
    """
    commands = commands_of_type(type_)
    aliases = {info.alias: info for info in commands.values() if info.alias}
    info = commands.get(command) or aliases.get(command)
    if info is None:
        raise click.UsageError(
            f"Command {command} not recognized. Available {type_} commands: {', '.join(commands)}"
        )
    return info


def arguments_for(command: str, info: Any, words: list[str]) -> dict[str, Any]:
    """Return the arguments that ``words`` stand for, in the order the command declares them.

    A declared argument may also be written as ``name=value``.

    Raises click.UsageError for a word too many or of the wrong type.
    """
    arguments: dict[str, Any] = {}
    rest = list(words)
    for name, kind in info.args or ():
        if not rest:
            break
        arguments[name] = _converted(command, info, name, kind, rest.pop(0))
    if info.variadic:
        arguments[info.variadic] = rest
    elif rest:
        raise _usage(command, info)
    return arguments


def _converted(command: str, info: Any, name: str, kind: Any, word: str) -> Any:
    value = _without_label(word, name, info.signature or "")
    if kind is None:
        return value
    try:
        return kind(value)
    except (TypeError, ValueError) as exc:
        raise _usage(command, info, f"{word!r} is no value for {name}: {exc}") from exc


def _without_label(word: str, name: str, signature: str) -> str:
    """Return ``value`` of ``label=value``; the label is the argument's name or in the signature."""
    label, separator, value = word.partition("=")
    labelled = separator and (label == name or f"[{label}=" in signature)
    return value if labelled else word


def _usage(command: str, info: Any, reason: str = "") -> click.UsageError:
    takes = f"takes arguments: {info.signature}" if info.signature else "takes no arguments"
    return click.UsageError(f"Command {command!r} {takes}" + (f"\n{reason}" if reason else ""))


def _panel_meta() -> Mapping[str, Any]:
    from taskq.worker.control import Panel  # start-up: the worker's rooms are large

    meta: Mapping[str, Any] = Panel.meta
    return meta
