"""``taskq events``: watch events, as text, with a camera or on a terminal screen."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

from taskq.bin.base import LOG_LEVEL, CeleryDaemonCommand, CeleryOption, handle_preload_options
from taskq.bin.detached import IN_BACKGROUND_ENV, become, in_background, run_in_background
from taskq.bin.errors import CommandError

NO_TERMINAL = "The screen needs a terminal. To see events as text, use: taskq events --dump"
NO_TUI = (
    "The screen needs the package 'textual', which is not installed: pip install taskq[tui]\n"
    "To see events without it, use: taskq events --dump"
)


def _option(heading: str, *names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group=heading, **kwargs)


@click.command(cls=CeleryDaemonCommand)
@_option("Dumper", "-d", "--dump", is_flag=True, help="Print events as lines of text.")
@_option("Dumper", "-j", "--json", is_flag=True, help="With --dump: each event as a JSON object.")
@_option("Snapshot", "-c", "--camera", help="Take snapshots with this class, as 'proj.cam:Cam'.")
@_option("Snapshot", "-D", "--detach", is_flag=True, help="Run the camera in the background.")
@_option(
    "Snapshot",
    "-F",
    "--frequency",
    "--freq",
    type=float,
    default=1.0,
    help="Seconds between snapshots.",
)
@_option("Snapshot", "-r", "--maxrate", help="At most so many snapshots, such as 10/m.")
@_option("Snapshot", "-l", "--loglevel", type=LOG_LEVEL, default="INFO", help="What is logged.")
@click.pass_context
@handle_preload_options
def events(
    ctx: click.Context,
    dump: bool,
    json: bool,
    camera: str | None,
    detach: bool,
    frequency: float,
    maxrate: str | None,
    loglevel: Any,
    **kwargs: Any,
) -> None:
    """Watch what workers tell about themselves and their tasks.

    Workers tell about tasks when started with -E, or after `taskq control enable_events`.
    Without options there is a screen with workers and tasks.
    """
    app = ctx.obj.app
    if json and not dump:
        raise click.UsageError("--json is for --dump.")
    if dump:
        _run_evdump(app, json=json)
    elif camera:
        if detach and not in_background():
            ctx.exit(_detach(ctx, **kwargs))
        _run_evcam(camera, app, freq=frequency, maxrate=maxrate, loglevel=loglevel, **kwargs)
    elif detach:
        raise click.UsageError("--detach is for cameras: say which with --camera.")
    else:
        _run_evtop(app)


def _run_evdump(app: Any, *, json: bool) -> None:
    from taskq.events.dumper import evdump

    _set_process_status("dump")
    evdump(app=app, json=json)


def _run_evcam(
    camera: str,
    app: Any,
    *,
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | None = None,
    gid: str | None = None,
    umask: str | None = None,
    executable: str | None = None,
    **kwargs: Any,
) -> None:
    from taskq.events.snapshot import evcam

    _set_process_status("cam")
    if not in_background():
        mask = _umask(umask)
        if mask is not None:
            os.umask(mask)
        become(uid, gid)
    os.environ.pop(IN_BACKGROUND_ENV, None)
    # The last snapshot is taken, and the pidfile removed, when the program is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        evcam(camera, app=app, logfile=logfile, pidfile=pidfile, **kwargs)
    except (ImportError, AttributeError) as exc:
        raise CommandError(
            f"Cannot use the camera {camera!r}: {exc}\nIt is a class, named as 'module:Class'."
        ) from exc


def _run_evtop(app: Any) -> None:
    try:
        from taskq.events.screen import evtop
    except ImportError as exc:
        if (exc.name or "").split(".")[0] not in {"textual", "rich"}:
            raise
        raise CommandError(NO_TUI) from exc
    # It is drawn on stderr, so that output may be redirected.
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise CommandError(NO_TERMINAL)
    _set_process_status("top")
    evtop(app=app)


def _detach(
    ctx: click.Context,
    *,
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | None = None,
    gid: str | None = None,
    umask: str | None = None,
    executable: str | None = None,
    **_: Any,
) -> int:
    return run_in_background(
        ["-m", "taskq", *ctx.meta["taskq.argv"]],
        path=executable,
        logfile=logfile,
        pidfile=pidfile,
        uid=uid,
        gid=gid,
        umask=_umask(umask),
    )


def _umask(value: str | None) -> int | None:
    if not value:
        return None
    try:
        return int(str(value), 8)
    except ValueError as exc:
        raise click.UsageError(f"--umask {value!r} is not an octal number, such as 022.") from exc


def _set_process_status(prog: str, info: str = "") -> str:
    from taskq.platforms import set_process_title, strargv

    return set_process_title(f"celery events:{prog}", info=f"{info} {strargv(sys.argv)}")
