"""``taskq schedule``: show and change the periodic tasks in the SQL database."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from taskq.bin.base import (
    JSON_ARRAY,
    JSON_OBJECT,
    CeleryCommand,
    CeleryOption,
    handle_preload_options,
)
from taskq.bin.errors import CommandError


@click.group(name="schedule")
def schedule() -> None:
    """Show and change the periodic tasks in the SQL database.

    They are sent by a beat with the scheduler 'database', which sees a change within a second or
    two.
    """


def _command(name: str) -> Any:
    return schedule.command(name, cls=CeleryCommand)


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Entry Options", **kwargs)


def _store(ctx: click.Context) -> Any:
    try:
        from taskq.beat.stored import open_store
    except ImportError as exc:
        raise CommandError(
            "Schedules in a database need SQLAlchemy: pip install 'taskq[sqlalchemy]'"
        ) from exc
    from taskq.exceptions import ImproperlyConfigured

    try:
        return open_store(ctx.obj.app)
    except ImproperlyConfigured as exc:
        raise CommandError(str(exc)) from exc


def _change(ctx: click.Context, method: str, name: str, **kwargs: Any) -> None:
    try:
        getattr(_store(ctx), method)(name, **kwargs)
    except KeyError as exc:
        raise CommandError(str(exc)) from exc


@_command("list")
@_option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@handle_preload_options
def list_(ctx: click.Context, as_json: bool, **kwargs: Any) -> None:
    """Show the periodic tasks."""
    if as_json:
        ctx.obj.echo(json.dumps([_described(ctx, stored) for stored in _store(ctx).entries()]))
        return
    for stored in _store(ctx).entries():
        entry = stored.entry(ctx.obj.app)
        state = "paused" if stored.paused else "active"
        ctx.obj.echo(f"{stored.name}  {entry.task}  {entry.schedule}  {state}  {_sent(stored)}")


def _described(ctx: click.Context, stored: Any) -> dict[str, Any]:
    entry, run = stored.entry(ctx.obj.app), stored.run
    sent = run is not None and run.total_run_count
    return {
        "name": stored.name,
        "task": entry.task,
        "schedule": str(entry.schedule),
        "paused": bool(stored.paused),
        "sent": int(sent),
        "last": run.last_run_at.isoformat() if sent else None,
    }


def _sent(stored: Any) -> str:
    """Return how often and when an entry was sent."""
    run = stored.run
    if run is None or not run.total_run_count:
        return "never sent"
    last = run.last_run_at.isoformat(" ", "seconds")
    return f"sent {run.total_run_count} times, last {last}"


@_command("add")
@click.argument("name")
@click.argument("task")
@_option("--every", type=click.FloatRange(min=0, min_open=True), help="Seconds between two runs.")
@_option("--crontab", help="Minute, hour, day of month, month and day of week, as '30 7 * * mon'.")
@_option("--rrule", help="Rule of a calendar, as 'FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17'.")
@_option("--start", help="With --rrule: since when, as '2026-01-31T09:00'.")
@_option("--solar", nargs=3, metavar="EVENT LAT LON", help="Sun, as 'sunset 52.5 13.4'.")
@_option("--timezone", help="Zone of crontab and rule; that of the app if not given.")
@_option("-a", "--args", type=JSON_ARRAY, default="[]", help="Positional arguments as JSON.")
@_option("-k", "--kwargs", type=JSON_OBJECT, default="{}", help="Keyword arguments as JSON.")
@_option("-Q", "--queue", help="Queue to send to.")
@_option("--expires", type=float, help="Seconds after which a run is not started any more.")
@_option("--overlap", type=click.Choice(("allow", "skip", "queue")), help="With unfinished runs.")
@_option("--catch-up", type=click.Choice(("none", "one", "all")), help="After downtime of beat.")
@_option("--jitter", type=click.FloatRange(min=0), help="Seconds to send late at most, by chance.")
@click.pass_context
@handle_preload_options
def add(
    ctx: click.Context,
    name: str,
    task: str,
    every: float | None,
    crontab: str | None,
    rrule: str | None,
    start: str | None,
    solar: tuple[str, str, str] | None,
    timezone: str | None,
    args: Any,
    kwargs: Any,
    queue: str | None,
    expires: float | None,
    **policies: Any,
) -> None:
    """Add a periodic task, or change the one of that name.

    \b
    $ taskq -A proj schedule add refresh proj.refresh --every 30
    $ taskq -A proj schedule add report proj.report --crontab '30 7 * * mon'
    $ taskq -A proj schedule add bills proj.bills --rrule 'FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17'
    $ taskq -A proj schedule add lamps proj.lamps --solar sunset 52.5 13.4
    """
    whens = {"every": every, "crontab": crontab, "rrule": rrule, "solar": solar or None}
    given = [name for name, value in whens.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError("Say when: one of --every, --crontab, --rrule and --solar.")
    if timezone is not None and given[0] not in {"crontab", "rrule"}:
        raise click.UsageError("--timezone is for --crontab and --rrule.")
    if start is not None and rrule is None:
        raise click.UsageError("--start is for --rrule.")
    options = {"queue": queue, "expires": expires}
    try:
        when = every or _schedule(given[0], whens[given[0]], start, timezone)
        entry = {
            "task": task,
            "schedule": when,
            "args": args,
            "kwargs": kwargs,
            "options": {key: value for key, value in options.items() if value is not None},
            **{key: policies[key] for key in ("overlap", "catch_up", "jitter") if policies[key]},
        }
        _check_results(ctx, name, entry)
        _store(ctx).add(name, **entry)
    except (TypeError, ValueError, LookupError) as exc:
        raise click.UsageError(f"{name}: {exc}") from exc


def _check_results(ctx: click.Context, name: str, entry: dict[str, Any]) -> None:
    """Refuse an entry that would wait for results which nobody stores."""
    from taskq.beat import ScheduleEntry
    from taskq.beat.holds import require_results
    from taskq.exceptions import ImproperlyConfigured

    app = ctx.obj.app
    app.loader.import_default_modules()
    try:
        require_results(app, ScheduleEntry(name=name, app=app, **entry))
    except ImproperlyConfigured as exc:
        raise CommandError(str(exc)) from exc


def _schedule(kind: str, value: Any, start: str | None, timezone: str | None) -> Any:
    """Return the schedule that the options mean. Raises ValueError if they mean none."""
    from taskq.schedules import ParseException, crontab, rrule, solar

    if kind == "solar":
        event, lat, lon = value
        return solar(event, float(lat), float(lon))
    if kind == "rrule":
        return rrule(value, None if start is None else datetime.fromisoformat(start), tz=timezone)
    fields = value.split()
    if len(fields) != 5:
        raise click.UsageError(f"--crontab {value!r} has {len(fields)} fields, not five.")
    minute, hour, day_of_month, month, day_of_week = fields
    try:
        return crontab(minute, hour, day_of_week, day_of_month, month, tz=timezone)
    except ParseException as exc:
        raise ValueError(str(exc)) from exc


@_command("pause")
@click.argument("name")
@click.pass_context
@handle_preload_options
def pause(ctx: click.Context, name: str, **kwargs: Any) -> None:
    """Don't send a periodic task for now."""
    _change(ctx, "pause", name)


@_command("resume")
@click.argument("name")
@click.pass_context
@handle_preload_options
def resume(ctx: click.Context, name: str, **kwargs: Any) -> None:
    """Send a paused task again, from its next time on."""
    _change(ctx, "resume", name, now=ctx.obj.app.now())


@_command("remove")
@click.argument("name")
@click.pass_context
@handle_preload_options
def remove(ctx: click.Context, name: str, **kwargs: Any) -> None:
    """Delete a periodic task."""
    _change(ctx, "remove", name)


@_command("run-now")
@click.argument("name")
@click.pass_context
@handle_preload_options
def run_now(ctx: click.Context, name: str, **kwargs: Any) -> None:
    """Send a periodic task at once, beside its schedule; also one that is paused."""
    from taskq.beat import Scheduler, SchedulingError

    app = ctx.obj.app
    app.loader.import_default_modules()
    try:
        entry = _store(ctx).get(name).entry(app)
        # Lazy: it has no entries of its own, it only sends.
        result = Scheduler(app, lazy=True).apply_async(entry, advance=False)
    except (KeyError, SchedulingError) as exc:
        raise CommandError(str(exc)) from exc
    ctx.obj.echo(result.id)
