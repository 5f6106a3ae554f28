"""``taskq beat``: send periodic tasks. Parses and refuses; the program itself is ``app.Beat``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from taskq.bin.base import LOG_LEVEL, CeleryDaemonCommand, CeleryOption, handle_preload_options
from taskq.bin.detached import (
    IN_BACKGROUND_ENV,
    become,
    in_background,
    parse_umask,
    run_in_background,
    unwritable_explained,
)
from taskq.bin.errors import CommandError


def _beat(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Beat Options", **kwargs)


@click.command(cls=CeleryDaemonCommand, context_settings={"allow_extra_args": True})
@_beat("--detach", is_flag=True, default=False, help="Run in the background.")
@_beat(
    "-s",
    "--schedule",
    help="File that remembers when tasks were sent last, celerybeat-schedule if not set "
    "otherwise. The database may append a suffix.",
)
@_beat(
    "-S",
    "--scheduler",
    help="Class of the scheduler, as 'module:Class', or the name of an installed one.",
)
@_beat("--max-interval", type=click.FloatRange(min=0), help="Longest sleep in seconds.")
@_beat(
    "--enable-remote-control/--no-enable-remote-control",
    "remote_control",
    default=None,
    help="Answer 'taskq inspect ping', so that beat can be watched.",
)
@_beat("-n", "--hostname", help="Node name to answer on, celerybeat@%h if not given.")
@_beat("-l", "--loglevel", type=LOG_LEVEL, default="WARNING", help="What is logged.")
@click.pass_context
@handle_preload_options
def beat(
    ctx: click.Context,
    detach: bool = False,
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | None = None,
    gid: str | None = None,
    umask: str | None = None,
    executable: str | None = None,
    workdir: str | None = None,
    **kwargs: Any,
) -> None:
    """Send periodic tasks when they are due.

    \b
    $ taskq -A proj beat -l INFO
    $ taskq -A proj beat -s /var/run/beat-schedule --pidfile /var/run/beat.pid --detach
    """
    app = ctx.obj.app
    _configure_from_words(app, ctx.args)
    mask = parse_umask(umask)
    if executable and not detach:
        raise click.UsageError("--executable is for beat in the background: add --detach.")
    if detach and not in_background():
        ctx.exit(
            run_in_background(
                ["-m", "taskq", *ctx.meta["taskq.argv"]],
                path=executable,
                logfile=logfile,
                pidfile=pidfile,
                uid=uid,
                gid=gid,
                umask=mask,
            )
        )
    if not in_background():
        if mask is not None:
            os.umask(mask)
        become(uid, gid)
    os.environ.pop(IN_BACKGROUND_ENV, None)
    with unwritable_explained(), _misconfiguration_explained():
        program = app.Beat(
            logfile=logfile,
            pidfile=pidfile,
            no_color=ctx.obj.no_color,
            quiet=ctx.obj.quiet,
            **kwargs,
        )
        try:
            program.run()
        except (ImportError, AttributeError) as exc:
            if not _is_scheduler_missing(program.scheduler_cls):
                raise
            raise CommandError(
                f"Cannot use the scheduler {program.scheduler_cls!r}: {exc}\nIt is a class, named "
                "as 'module:Class', or the name of an installed one."
            ) from exc


@contextmanager
def _misconfiguration_explained() -> Iterator[None]:
    from taskq.exceptions import ImproperlyConfigured

    try:
        yield
    except ImproperlyConfigured as exc:
        raise CommandError(str(exc)) from exc


def _is_scheduler_missing(name: Any) -> bool:
    """Return whether the name of a scheduler leads nowhere."""
    from taskq.utils.imports import symbol_by_name

    try:
        symbol_by_name(name)
    except (ImportError, AttributeError, ValueError):
        return True
    return False


def _configure_from_words(app: Any, words: list[str]) -> None:
    """Change settings as ``key=value`` words behind the options say."""
    if not words:
        return
    try:
        app.config_from_cmdline(words, namespace="beat")
    except (KeyError, ValueError) as exc:
        raise click.UsageError(
            f"{' '.join(words)!r} should be settings, such as beat.max_loop_interval=5: {exc}"
        ) from exc
