"""``taskq worker``: start a worker. Parses and refuses; the worker itself is ``app.Worker``."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from taskq.apps.processes import WorkerProcesses, number_of_this_process, numbered
from taskq.bin.base import (
    COMMA_SEPARATED_LIST,
    LOG_LEVEL,
    CeleryDaemonCommand,
    CeleryOption,
    handle_preload_options,
)
from taskq.bin.detached import (
    IN_BACKGROUND_ENV,
    become,
    in_background,
    parse_umask,
    run_in_background,
    unwritable_explained,
)
from taskq.bin.worker_types import (
    AUTO_CONCURRENCY,
    AUTOSCALE,
    CELERY_BEAT,
    HOSTNAME,
    WORKERS_POOL,
    Autoscale,
    CeleryBeat,
    Hostname,
    WorkersPool,
)
from taskq.utils.sysinfo import cpu_budget, is_auto_concurrency

__all__ = (
    "AUTOSCALE",
    "AUTO_CONCURRENCY",
    "CELERY_BEAT",
    "EX_FAILURE",
    "EX_OK",
    "HOSTNAME",
    "WORKERS_POOL",
    "Autoscale",
    "CeleryBeat",
    "Hostname",
    "WorkersPool",
    "detach",
    "worker",
)

EX_OK = 0
EX_FAILURE = 1
#: Tasks in flight in each process of ``-P prefork --loop``, as in ``-P asyncio`` by itself.
IN_FLIGHT = 100


def detach(
    path: str,
    argv: list[str],
    logfile: str | None = None,
    pidfile: str | None = None,
    uid: str | int | None = None,
    gid: str | int | None = None,
    umask: str | int | None = None,
    workdir: str | None = None,
    fake: bool = False,
    app: Any = None,
    executable: str | None = None,
    hostname: str | None = None,
) -> int:
    """Run ``path argv…`` as a daemon; the exit status is returned in the parent.

    Parameters:
        path: Python executable, unless ``executable`` names another.
        argv: its arguments.
        logfile, pidfile: as given by the user; node formats such as ``%n`` are expanded.
        uid, gid, umask, workdir: what the daemon runs as and where.
        fake: stay in the foreground.
        app: not used; kept for callers that pass it.
        hostname: node name for the node formats.
    """
    from taskq.utils.nodenames import default_nodename, node_format

    name = default_nodename(hostname)
    return run_in_background(
        argv,
        path=executable or path,
        logfile=node_format(logfile, name) if logfile else None,
        pidfile=node_format(pidfile, name) if pidfile else None,
        uid=uid,
        gid=gid,
        umask=umask,
        workdir=workdir,
        fake=fake,
    )


def _concurrency(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    if value is None or value == "":
        from_settings: int | str | None = _setting(ctx, param, "worker_concurrency")
        return from_settings
    if value.lower() == AUTO_CONCURRENCY:
        return AUTO_CONCURRENCY
    try:
        number = int(value)
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not a number, nor 'auto'.", ctx, param) from exc
    if number < 0:
        raise click.BadParameter(f"{value} is less than one.", ctx, param)
    return number


def _or_setting(key: str) -> Any:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        return value if value is not None else _setting(ctx, param, key)

    return callback


def _setting(ctx: click.Context, _param: click.Parameter, key: str) -> Any:
    return getattr(ctx.obj.app.conf, key, None) if ctx.obj is not None else None


def _group(heading: str) -> Any:
    def option(*names: str, **kwargs: Any) -> Any:
        return click.option(*names, cls=CeleryOption, help_group=heading, **kwargs)

    return option


_worker = _group("Worker Options")
_pool = _group("Pool Options")
_queue = _group("Queue Options")
_feature = _group("Features")
_beat = _group("Embedded Beat Options")


@click.command(cls=CeleryDaemonCommand, context_settings={"allow_extra_args": True})
@_worker(
    "-n",
    "--hostname",
    type=HOSTNAME,
    help="Name of this worker, such as w1@%h; %h is the host with its domain, %n the host's name, "
    "%d its domain. Without '@' it is the host's part: celery@NAME.",
)
@_worker("-D", "--detach", is_flag=True, default=False, help="Run in the background.")
@_worker(
    "-S",
    "--statedb",
    type=click.Path(),
    callback=_or_setting("worker_state_db"),
    help="File that keeps revoked tasks across restarts.",
)
@_worker("-l", "--loglevel", type=LOG_LEVEL, default="WARNING", help="What is logged.")
@_worker(
    "-O",
    "--optimization",
    type=click.Choice(("default", "fair")),
    default="default",
    help="Scheduling profile. Here no task waits behind a running one in either.",
)
@_worker(
    "--prefetch-multiplier",
    type=int,
    callback=_or_setting("worker_prefetch_multiplier"),
    help="How many messages to hold for each process.",
)
@_worker(
    "--disable-prefetch",
    is_flag=True,
    default=None,
    callback=_or_setting("worker_disable_prefetch"),
    help="Fetch a message only when a process is free.",
)
@_pool(
    "-c",
    "--concurrency",
    callback=_concurrency,
    metavar="NUMBER",
    help="How many tasks run at a time: processes, threads or greenlets. The number of CPUs if not "
    "given; 'auto' counts the CPUs that a container or an affinity mask leaves.",
)
@_pool(
    "-P",
    "--pool",
    type=WORKERS_POOL,
    callback=lambda ctx, param, value: (
        value
        if value is not None
        else WORKERS_POOL.convert(_setting(ctx, param, "worker_pool") or "prefork", param, ctx)
    ),
    help="What tasks run in; also the dotted path of a pool class.",
)
@_pool(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    help="Run this many whole workers, to use as many CPUs with pools that use one: -P asyncio, "
    "threads, gevent, solo. Their names get a number: celery-1@host.",
)
@_pool(
    "--loop",
    is_flag=True,
    help="With prefork: an event loop in each process, for many coroutine tasks at a time. "
    "-P prefork --loop -c 4 is -P asyncio --processes 4.",
)
@_pool(
    "-E",
    "--task-events",
    "--events",
    is_flag=True,
    default=None,
    help="Send events about tasks, for monitors.",
)
@_pool("--time-limit", type=click.FloatRange(min=0), help="Seconds after which a task is killed.")
@_pool(
    "--soft-time-limit",
    type=click.FloatRange(min=0),
    help="Seconds after which a task gets SoftTimeLimitExceeded.",
)
@_pool(
    "--max-tasks-per-child",
    type=click.IntRange(min=0),
    help="Number of tasks after which a pool process is replaced.",
)
@_pool(
    "--pool-start-method",
    type=click.Choice(("fork", "spawn", "forkserver")),
    help="How prefork starts its processes: 'fork' is quick and shares memory, 'spawn' starts each "
    "in a fresh interpreter, 'forkserver' forks them from one that has only imported the app.",
)
@_pool(
    "--max-memory-per-child",
    type=click.IntRange(min=0),
    help="Resident memory in KiB above which a pool process is replaced, once its task is done.",
)
@_queue("--purge", "--discard", is_flag=True, help="Delete all waiting messages before starting.")
@_queue(
    "--queues",
    "-Q",
    type=COMMA_SEPARATED_LIST,
    help="Names of the queues to take tasks from, with commas between.",
)
@_queue(
    "--exclude-queues",
    "-X",
    type=COMMA_SEPARATED_LIST,
    help="Names of the queues not to take tasks from.",
)
@_queue("--include", "-I", type=COMMA_SEPARATED_LIST, help="Further modules with tasks to import.")
@_feature("--without-gossip", is_flag=True, help="Do not listen to other workers.")
@_feature("--without-mingle", is_flag=True, help="Do not ask other workers at start.")
@_feature("--without-heartbeat", is_flag=True, help="Do not send heartbeat events.")
@_feature("--heartbeat-interval", type=int, help="Seconds between heartbeat events.")
@_feature(
    "--health-file",
    type=click.Path(dir_okay=False),
    help="File that is touched every second while the worker lives, for probes.",
)
@_feature(
    "--health-port",
    type=click.IntRange(0, 65535),
    help="Port for HTTP probes: /livez (the loop turns) and /readyz (tasks are taken).",
)
@_feature(
    "--health-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds without a turn of the loop after which the worker counts as dead; 30.",
)
@_feature("--health-host", help="Address that --health-port listens on; all if not given.")
@_feature("--autoscale", type=AUTOSCALE, help="Vary the number of processes, as max,min.")
@_beat("-B", "--beat", type=CELERY_BEAT, is_flag=True, help="Run beat inside this worker.")
@_beat(
    "-s",
    "--schedule-filename",
    "--schedule",
    callback=_or_setting("beat_schedule_filename"),
    help="File in which beat keeps its schedule.",
)
@_beat("--scheduler", help="Class of beat's scheduler.")
@click.pass_context
@handle_preload_options
def worker(
    ctx: click.Context,
    hostname: str | None = None,
    pool_cls: Any = None,
    app: Any = None,
    uid: str | None = None,
    gid: str | None = None,
    loglevel: int | None = None,
    logfile: str | None = None,
    pidfile: str | None = None,
    statedb: str | None = None,
    processes: int = 1,
    loop: bool = False,
    **kwargs: Any,
) -> None:
    """Start a worker that takes tasks from the queues and runs them.

    \b
    $ taskq -A proj worker -l INFO
    $ taskq -A proj worker -l INFO -Q urgent,normal
    $ taskq -A proj worker --concurrency=4
    $ taskq -A proj worker -- broker.heartbeat=30 worker.prefetch_multiplier=8
    """
    app = ctx.obj.app
    _configure_from_words(app, ctx.args)
    hostname = hostname or HOSTNAME.convert(None, None, ctx)
    if loop:
        processes = _loop_per_process(ctx, processes, kwargs)
    number = number_of_this_process()
    if number:
        hostname, pidfile = numbered(hostname, number), None
        kwargs["beat"] = kwargs.get("beat") and number == 1
        kwargs["purge"] = kwargs.get("purge") and number == 1
    elif processes > 1:
        _refuse_for_several(statedb=statedb, **kwargs)
    umask = parse_umask(kwargs.get("umask"))
    if kwargs.get("executable") and not kwargs.get("detach"):
        raise click.UsageError("--executable is for a worker in the background: add --detach.")
    if kwargs.get("detach") and not in_background():
        ctx.exit(
            detach(
                path=sys.executable,
                argv=["-m", "taskq", *ctx.meta["taskq.argv"]],
                logfile=logfile,
                pidfile=pidfile,
                uid=uid,
                gid=gid,
                umask=umask,
                executable=kwargs.get("executable"),
                hostname=hostname,
            )
        )
    if not in_background():
        if umask is not None:
            os.umask(umask)
        become(uid, gid)
    os.environ.pop(IN_BACKGROUND_ENV, None)  # what the worker starts is not its second half
    if processes > 1 and not number:
        lock = _pidlock(_expanded(pidfile, hostname))
        # They have detached already, and are who they should be.
        several = WorkerProcesses(ctx.meta["taskq.argv"], processes, {IN_BACKGROUND_ENV: "1"})
        status = several.run()
        if lock is not None:
            lock.release()
        ctx.exit(status)
    with unwritable_explained():
        program = app.Worker(
            hostname=hostname,
            pool_cls=pool_cls,
            loglevel=loglevel,
            logfile=logfile,  # node formats are expanded by the log and by the pool's processes
            pidfile=_expanded(pidfile, hostname),
            statedb=_expanded(statedb, hostname),
            no_color=ctx.obj.no_color,
            quiet=ctx.obj.quiet,
            **kwargs,
        )
    program.start()
    ctx.exit(program.exitcode or EX_OK)


def _loop_per_process(ctx: click.Context, processes: int, options: dict[str, Any]) -> int:
    """Make the options of processes with a loop each those of the asyncio pool.

    Returns the number of processes. Raises UsageError for other pools than prefork.
    """
    if not _is_prefork(options["pool"]):
        raise click.UsageError("--loop is for -P prefork: -P asyncio has a loop, other pools none.")
    if processes > 1:
        raise click.UsageError("--loop: the number of processes is that of -c, not --processes.")
    if options.get("autoscale"):
        raise click.UsageError("--loop: processes with a loop don't come and go: no --autoscale.")
    wanted = options.get("concurrency")  # or the setting of this name
    options["pool"] = WORKERS_POOL.convert("asyncio", None, ctx)
    options["concurrency"] = IN_FLIGHT
    return int(cpu_budget().count if not wanted or is_auto_concurrency(wanted) else wanted)


def _is_prefork(pool: Any) -> bool:
    return getattr(pool, "__module__", "").startswith("taskq.concurrency.prefork")


def _refuse_for_several(**options: Any) -> None:
    """Raise UsageError for options that several workers can't share."""
    if _is_prefork(options["pool"]):
        raise click.UsageError("--processes is for pools of one process: with prefork use -c.")
    if options.get("health_port") or options.get("health_file"):
        raise click.UsageError("--processes: several workers can't share --health-port or -file.")
    statedb = options.get("statedb")
    if statedb and "%" not in statedb:
        raise click.UsageError(
            f"--processes: each worker needs a --statedb of its own: write %n into {statedb!r}."
        )


def _pidlock(pidfile: str | None) -> Any:
    from taskq.utils.process.pidfile import create_pidlock

    return create_pidlock(pidfile) if pidfile else None


def _configure_from_words(app: Any, words: list[str]) -> None:
    """Change settings as ``key=value`` words behind the options say."""
    if not words:
        return
    try:
        app.config_from_cmdline(words, namespace="worker")
    except (KeyError, ValueError) as exc:
        raise click.UsageError(
            "Unable to parse extra configuration from command line.\n"
            f"{' '.join(words)!r} should be settings, such as worker.prefetch_multiplier=8 "
            f"or broker.heartbeat=30.\nReason: {exc}"
        ) from exc


def _expanded(path: str | None, hostname: str) -> str | None:
    from taskq.utils.nodenames import node_format

    return node_format(path, hostname) if path else None
