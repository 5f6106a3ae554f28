"""The classes our commands and options are made of: grouped help, environment names, settings.

Used by every subcommand; re-exported by ``taskq.bin.base``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click

from taskq.bin.errors import explained
from taskq.bin.preload import (
    app_of,
    handles_preload_options,
    take_preload_options,
    user_options,
)

#: First word of the names of environment variables: ours, and the one Celery users have set.
ENV_PREFIX = "TASKQ"
CELERY_ENV_PREFIX = "CELERY"


class CeleryOption(click.Option):
    """An option that belongs to a section of the help and may take its default from settings.

    Parameters (beyond click's):
        help_group: heading that the option is listed under.
        default_value_from_context: key of ``ctx.obj`` whose value is the default.

    Its value may also come from ``TASKQ_<COMMAND>_<NAME>`` or ``CELERY_<COMMAND>_<NAME>`` in the
    environment (``TASKQ_<NAME>`` for global options).
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.help_group: str | None = kwargs.pop("help_group", None)
        self.default_value_from_context: str | None = kwargs.pop("default_value_from_context", None)
        super().__init__(*args, **kwargs)

    def get_default(self, ctx: click.Context, *args: Any, **kwargs: Any) -> Any:
        """Return the default, read from ``ctx.obj`` if the option was declared so."""
        key = self.default_value_from_context
        if key is not None and isinstance(ctx.obj, Mapping) and key in ctx.obj:
            return ctx.obj[key]
        return super().get_default(ctx, *args, **kwargs)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return the value found in the environment, taskq's names before Celery's."""
        value = super().resolve_envvar_value(ctx)
        prefix = ctx.auto_envvar_prefix
        if value is not None or prefix is None or not self.name or not self.allow_from_autoenv:
            return value
        if prefix.split("_", 1)[0] != ENV_PREFIX:
            return None
        celery_name = CELERY_ENV_PREFIX + prefix.removeprefix(ENV_PREFIX)
        return os.environ.get(f"{celery_name}_{self.name.upper()}") or None


class CeleryCommand(click.Command):
    """A command whose help lists options under their headings, and that takes the app's options.

    Options in ``app.user_options["preload"]`` and ``app.user_options[<name of the command>]`` are
    options of the command as if it had declared them.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's parameters with those that the loaded app adds."""
        declared = super().get_params(ctx)
        app = app_of(ctx)
        added = user_options(app, self.name or "") + user_options(app, "preload")
        if not added:
            return declared
        return [*declared[:-1], *added, declared[-1]] if self.add_help_option else declared + added

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors that a user can mend end it with a message and what to do.

        Preload values reach only a callback that asks for them.
        """
        if self.callback is not None and not handles_preload_options(self.callback):
            take_preload_options(app_of(ctx), ctx.params, self.callback)
        with explained(app_of(ctx)):
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options section by section, those without a heading last."""
        sections: dict[str | None, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            # A positional argument without a text of its own is in the usage line already.
            if record is not None and (record[1] or isinstance(param, click.Option)):
                sections.setdefault(getattr(param, "help_group", None), []).append(record)
        loose = sections.pop(None, [])
        for heading, records in sections.items():
            with formatter.section(str(heading)):
                formatter.write_dl(records)
        if loose:
            with formatter.section("Options"):
                formatter.write_dl(loose)


class DaemonOption(CeleryOption):
    """An option of a long-running command; unset, it is the setting ``<command>_<name>``.

    ``taskq worker --pidfile`` falls back to ``worker_pidfile``, and so on.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args,
            help_group=kwargs.pop("help_group", "Daemonization Options"),
            callback=kwargs.pop("callback", self.daemon_setting),
            **kwargs,
        )

    def daemon_setting(self, ctx: click.Context, opt: click.Parameter, value: Any) -> Any:
        """Return the value given, or the app's setting for this command."""
        if value:
            return value
        app = app_of(ctx)
        return getattr(app.conf, f"{ctx.command.name}_{opt.name}", None) if app else None


class CeleryDaemonCommand(CeleryCommand):
    """A command that runs for long, with the options to run it as a daemon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(
            (
                DaemonOption(
                    ("--logfile", "-f"), help="Where the log goes; stderr when not given."
                ),
                DaemonOption(("--pidfile",), help="File that holds the process id while it runs."),
                DaemonOption(("--uid",), help="User (name or number) to run as."),
                DaemonOption(("--gid",), help="Group (name or number) to run as."),
                DaemonOption(("--umask",), help="Mask, in octal, for files that are created."),
                DaemonOption(("--executable",), help="Python to run the background process with."),
            )
        )
