"""Options that an app adds to commands (``app.user_options``), and the signal that hands them over.

Used by the command classes and, as decorators, by commands of ours and of plugins.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

import click


def app_of(ctx: click.Context | None) -> Any | None:
    """Return the app loaded for ``ctx``, or None before the root command has loaded one."""
    return getattr(ctx.obj, "app", None) if ctx is not None else None


def user_options(app: Any | None, key: str) -> list[click.Parameter]:
    """Return the options that ``app`` adds under ``key``: a command's name, or ``preload``."""
    if app is None:
        return []
    added = (getattr(app, "user_options", None) or {}).get(key) or ()
    return [option for option in added if isinstance(option, click.Parameter)]


def handles_preload_options(fun: Callable[..., Any]) -> bool:
    """Return whether ``fun`` was wrapped by one of the two decorators of this module."""
    return getattr(fun, "handles_preload", False)


def handle_preload_options(f: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that the app's preload options are announced before it runs.

    The values are sent with ``signals.user_preload_options`` (``app``, ``options``) and given to
    ``f`` only if it has parameters for them. ``f`` takes the click context first.
    """

    def caller(ctx: click.Context, *args: Any, **kwargs: Any) -> Any:
        from taskq.signals import user_preload_options  # start-up: not needed for `--help`

        app = ctx.obj.app
        options = take_preload_options(app, kwargs, f)
        user_preload_options.send(sender=f, app=app, options=options)
        return f(ctx, *args, **kwargs)

    caller.handles_preload = True  # type: ignore[attr-defined]
    return update_wrapper(caller, f)


def consume_preload_options(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command that knows nothing of preload options, so that their values do not reach it.

    A command already wrapped with `handle_preload_options` is returned as it is.
    """
    if handles_preload_options(fun):
        return fun

    def caller(*args: Any, **kwargs: Any) -> Any:
        take_preload_options(app_of(click.get_current_context(silent=True)), kwargs, fun)
        return fun(*args, **kwargs)

    caller.handles_preload = True  # type: ignore[attr-defined]
    return update_wrapper(caller, fun)


def take_preload_options(
    app: Any | None, kwargs: dict[str, Any], fun: Callable[..., Any]
) -> dict[str, Any]:
    """Return the preload values in ``kwargs``, leaving there only those that ``fun`` accepts."""
    taken: dict[str, Any] = {}
    for option in user_options(app, "preload"):
        name = option.name
        if not name or name not in kwargs:
            continue
        taken[name] = kwargs[name] if _accepts(fun, name) else kwargs.pop(name)
    return taken


def _accepts(fun: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(fun).parameters
    return name in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )
