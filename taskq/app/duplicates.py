"""Warnings of two tasks that claim one name."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from taskq.exceptions import DuplicateTaskNameWarning

__all__ = ("place_of", "warn_of_second_class", "warn_of_second_function")

W_DUPLICATE = """\
Task name {name!r} is already registered to a different callable: {existing}, and now {new}.
{consequence}
Every task needs a name of its own: give one of them another with name="...", or rename it."""

FIRST_STAYS = "The new one was not registered: calls by this name reach the one registered first."
SECOND_TAKES_OVER = "The new one replaced the existing one: calls by this name now reach the new."


def warn_of_second_function(name: str, task: Any, fun: Callable[..., Any]) -> None:
    """Warn when ``fun`` is not the function that ``task``, registered as ``name``, was made of."""
    existing, new = _bare(getattr(task, "__wrapped__", task.run)), _bare(fun)
    if existing is not new:
        _warn(name, existing, new, FIRST_STAYS)


def warn_of_second_class(tasks: Mapping[str, Any], task: Any) -> None:
    """Warn when ``task`` is about to replace a task of another class."""
    existing = tasks.get(task.name)
    if existing is not None and existing.__class__ is not task.__class__:
        _warn(task.name, existing.__class__, task.__class__, SECOND_TAKES_OVER)


def place_of(fun: Any) -> str:
    """Return where a function or class was defined, as ``module.name``."""
    return f"{getattr(fun, '__module__', '?')}.{getattr(fun, '__qualname__', fun)}"


def _bare(fun: Any) -> Any:
    """Return the function behind methods and decorators."""
    fun = inspect.unwrap(getattr(fun, "__func__", fun))
    return getattr(fun, "__func__", fun)


def _warn(name: str, existing: Any, new: Any, consequence: str) -> None:
    message = W_DUPLICATE.format(
        name=name, existing=place_of(existing), new=place_of(new), consequence=consequence
    )
    code = getattr(new, "__code__", None)
    if code is None:
        warnings.warn(message, DuplicateTaskNameWarning, stacklevel=4)
        return
    # Lazy tasks are made long after their decorator ran: point at the function instead.
    warnings.warn_explicit(
        message,
        DuplicateTaskNameWarning,
        filename=code.co_filename,
        lineno=code.co_firstlineno,
        module=new.__module__,
        registry=new.__globals__.setdefault("__warningregistry__", {}),
    )
