"""``taskq result``: print what became of a task."""

from __future__ import annotations

from typing import Any

import click

from taskq.bin.base import CeleryCommand, CeleryOption, handle_preload_options
from taskq.bin.errors import EX_FAILURE, CommandError, backend_explained


def _option(*names: str, **kwargs: Any) -> Any:
    return click.option(*names, cls=CeleryOption, help_group="Result Options", **kwargs)


@click.command(cls=CeleryCommand)
@click.argument("task_id")
@_option("-t", "--task", help="Name of the task, if it has a result backend of its own.")
@_option("--traceback", is_flag=True, help="Show the traceback instead of the value.")
@_option("--timeout", type=float, help="Seconds to wait for the result; for ever if not given.")
@_option("-j", "--json", is_flag=True, help="Print the value as JSON.")
@click.pass_context
@handle_preload_options
def result(
    ctx: click.Context,
    task_id: str,
    task: str | None,
    traceback: bool,
    timeout: float | None,
    json: bool,
) -> None:
    """Wait for the task TASK_ID and print the value it returned.

    A failed task's error is printed on stderr, and the exit status is 1.
    """
    with backend_explained(ctx.obj.app):
        handle = _handle(ctx.obj.app, task_id, task)
        value = handle.traceback if traceback else _value(handle, timeout)
    if json:
        from kombu.utils.json import dumps

        ctx.obj.echo(dumps(value))
    else:
        ctx.obj.echo(ctx.obj.pretty(value)[1])


def _handle(app: Any, task_id: str, task: str | None) -> Any:
    if task is None:
        return app.AsyncResult(task_id)
    if task not in app.tasks:
        known = ", ".join(sorted(name for name in app.tasks if not name.startswith("celery.")))
        raise CommandError(f"The app has no task {task!r}. It has: {known or 'none'}.")
    return app.tasks[task].AsyncResult(task_id)


def _value(handle: Any, timeout: float | None) -> Any:
    """Return the task's value; its failure ends the command with the error's own words."""
    from taskq.exceptions import TimeoutError as ResultTimeout

    try:
        return handle.get(timeout=timeout)
    except ResultTimeout as exc:
        if handle.failed():
            raise _failure(handle, exc) from exc
        if exc.__cause__ is not None:
            raise exc.__cause__ from None  # the store, or the broker, was away all the time
        raise CommandError(
            f"No result for {handle.id} within {timeout} seconds; its state is {handle.state}."
        ) from exc
    except Exception as exc:  # the task's own exception, of any class
        if not handle.failed() and handle.state != "REVOKED":
            raise
        raise _failure(handle, exc) from exc


def _failure(handle: Any, exc: Exception) -> CommandError:
    return CommandError(
        f"Task {handle.id} ended as {handle.state}: {type(exc).__name__}: {exc}\n"
        "See where it was raised with --traceback.",
        EX_FAILURE,
    )
