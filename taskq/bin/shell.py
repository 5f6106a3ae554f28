"""``taskq shell``: a Python shell with the app and its tasks at hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import CommandError


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(
        *names, is_flag=True, cls=CeleryOption, help_group="Shell Options", **kwargs
    )


@click.command(cls=CeleryCommand, context_settings={"allow_extra_args": True})
@_option("-I", "--ipython", help="Use IPython.")
@_option("-B", "--bpython", help="Use bpython.")
@_option("--python", help="Use Python's own shell.")
@_option("-T", "--without-tasks", help="Leave the tasks out of the names at hand.")
@_option("--eventlet", help="Patch the standard library for eventlet first.")
@_option("--gevent", help="Patch the standard library for gevent first.")
@click.pass_context
@handle_preload_options
def shell(
    ctx: click.Context,
    ipython: bool,
    bpython: bool,
    python: bool,
    without_tasks: bool,
    eventlet: bool,
    gevent: bool,
    **_: Any,
) -> None:
    """Start a Python shell with the app loaded.

    The names at hand are app (and celery, the same), chain, group, chord, chunks, xmap, xstarmap,
    subtask, signature, Task, and every registered task.
    """
    _patch(eventlet=eventlet, gevent=gevent)
    names = _names(ctx.obj.app, tasks=not without_tasks)
    _chosen(ipython=ipython, bpython=bpython, python=python)(names)


def _names(app: Any, *, tasks: bool) -> dict[str, Any]:
    app.loader.import_default_modules()
    taskq = import_module("taskq")
    public = ("chain", "group", "chord", "chunks", "xmap", "xstarmap", "subtask", "signature")
    names: dict[str, Any] = {name: getattr(taskq, name) for name in public}
    names.update(app=app, celery=app, Task=taskq.Task)
    if tasks:
        names.update(
            {
                task.__name__: task
                for name, task in app.tasks.items()
                if not name.startswith("celery.")
            }
        )
    return names


def _patch(*, eventlet: bool, gevent: bool) -> None:
    from taskq import maybe_patch_concurrency

    for name, wanted in (("eventlet", eventlet), ("gevent", gevent)):
        if not wanted:
            continue
        try:
            maybe_patch_concurrency(["--pool", name])
        except ImportError as exc:
            raise CommandError(
                f"--{name} needs the package {name}: pip install taskq[{name}]"
            ) from exc


def _ipython(names: dict[str, Any]) -> None:
    start = import_module("IPython").start_ipython
    start(argv=[], user_ns=names)


def _bpython(names: dict[str, Any]) -> None:
    import_module("bpython").embed(names)


def _python(names: dict[str, Any]) -> None:
    import code

    _enable_completion(names)
    _run_startup_file(names)
    code.interact(local=names)


def _enable_completion(names: dict[str, Any]) -> None:
    try:
        import readline
        import rlcompleter
    except ImportError:  # a Python built without readline
        return
    readline.set_completer(rlcompleter.Completer(names).complete)
    readline.parse_and_bind("tab:complete")


def _run_startup_file(names: dict[str, Any]) -> None:
    """Run the file that Python's own interactive shell would run first."""
    path = os.environ.get("PYTHONSTARTUP")
    if path and os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            exec(compile(file.read(), path, "exec"), names)


#: Shells in the order they are tried when none is asked for.
_SHELLS: dict[str, Callable[[dict[str, Any]], None]] = {
    "ipython": _ipython,
    "bpython": _bpython,
    "python": _python,
}


def _chosen(**wanted: bool) -> Callable[[dict[str, Any]], None]:
    """Return the shell that was asked for, or the first that is installed."""
    asked = next((name for name, on in wanted.items() if on), None)
    if asked is None:
        return lambda names: _first_installed()(names)
    if asked != "python" and not _installed(asked):
        raise CommandError(f"--{asked} needs the package {asked}: pip install {asked}")
    return _SHELLS[asked]


def _first_installed() -> Callable[[dict[str, Any]], None]:
    return next(start for name, start in _SHELLS.items() if name == "python" or _installed(name))


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec({"ipython": "IPython"}.get(name, name)) is not None
