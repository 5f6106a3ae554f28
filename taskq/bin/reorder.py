"""Accepting global options behind the subcommand: ``taskq worker -A proj``.

Called by the root command before it parses; click itself takes them only in front.
"""

from __future__ import annotations

import click

#: Commands whose arguments are not parsed by us but handed on, so they stay as they are.
_PASS_THROUGH = frozenset({"multi"})


def global_options_first(ctx: click.Context, group: click.Group, args: list[str]) -> list[str]:
    """Return ``args`` with the group's own options that stand behind the subcommand in front.

    An option that the subcommand declares too, or that stands behind ``--``, stays where it is.
    """
    start = _subcommand_index(ctx, group, args)
    if start is None or args[start] in _PASS_THROUGH or args[start] not in group.commands:
        return args
    takes_value = {
        name: not getattr(param, "is_flag", False)
        for param in group.params  # the declared ones: --help belongs to the command it follows
        if isinstance(param, click.Option) and param.name != "version"
        for name in param.opts
    }
    if not any(_name_of(arg, takes_value) for arg in args[start + 1 :]):
        return args
    own = {
        name
        for param in group.commands[args[start]].params
        for name in [*param.opts, *param.secondary_opts]
    }
    return _split(args, start, {k: v for k, v in takes_value.items() if k not in own})


def _split(args: list[str], start: int, takes_value: dict[str, bool]) -> list[str]:
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(args[start + 1 :])
    for arg in rest:
        if arg == "--":
            kept.append(arg)
            break
        name = _name_of(arg, takes_value)
        if name is None:
            kept.append(arg)
            continue
        moved.append(arg)
        if takes_value[name] and arg == name:
            moved.extend(value for value in [next(rest, None)] if value is not None)
    kept.extend(rest)
    return [*args[:start], *moved, args[start], *kept]


def _subcommand_index(ctx: click.Context, group: click.Group, args: list[str]) -> int | None:
    """Return the position of the subcommand in ``args``; None if there is none."""
    parser = group.make_parser(ctx)
    parser.allow_interspersed_args = False
    parser.ignore_unknown_options = True
    try:
        _, rest, _ = parser.parse_args(list(args))
    except click.UsageError:
        return None
    return len(args) - len(rest) if rest else None


def _name_of(arg: str, options: dict[str, bool]) -> str | None:
    """Return which of ``options`` the argument is, as ``--x``, ``--x=v``, ``-x`` or ``-xv``."""
    if arg in options:
        return arg
    if arg.startswith("--"):
        name = arg.partition("=")[0]
        return name if options.get(name) and "=" in arg else None
    short = arg[:2]
    return short if len(arg) > 2 and options.get(short) else None
