"""Automatic retries: ``autoretry_for`` and its relatives wrap a task's ``run``.

Called once per task, when it is registered.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import wraps
from inspect import iscoroutinefunction
from types import CoroutineType
from typing import Any, NoReturn

from taskq.exceptions import Ignore, Retry
from taskq.utils.time import get_exponential_backoff_interval

__all__ = ("add_autoretry_behaviour",)


def _option(task: Any, options: dict[str, Any], name: str, default: Any) -> Any:
    return options.get(name, getattr(task, name, default))


def add_autoretry_behaviour(task: Any, **options: Any) -> None:
    """Wrap ``task.run`` so that exceptions in ``autoretry_for`` retry the task.

    - task: the task instance.
    - options: ``autoretry_for``, ``dont_autoretry_for``, ``retry_kwargs``, ``retry_backoff``
      (True or a factor in seconds), ``retry_backoff_max`` (seconds), ``retry_jitter``; each
      defaults to the task's attribute of that name.
    """
    autoretry_for = tuple(_option(task, options, "autoretry_for", ()))
    if not autoretry_for or hasattr(task, "_orig_run"):
        return
    dont_retry = (Ignore, Retry, *_option(task, options, "dont_autoretry_for", ()))
    retry_kwargs = _option(task, options, "retry_kwargs", {})
    backoff = _option(task, options, "retry_backoff", False)
    if backoff is True:
        backoff = 1
    backoff_max = int(_option(task, options, "retry_backoff_max", 600))
    jitter = _option(task, options, "retry_jitter", True)

    @wraps(task.run)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            returned = task._orig_run(*args, **kwargs)
        except dont_retry:
            raise
        except autoretry_for as exc:
            retry(exc)
        # A decorator that is no coroutine function may hide one.
        return finished(returned) if returned.__class__ is CoroutineType else returned

    @wraps(task.run)
    async def run_coroutine(*args: Any, **kwargs: Any) -> Any:
        return await finished(task._orig_run(*args, **kwargs))

    async def finished(coroutine: Awaitable[Any]) -> Any:
        try:
            return await coroutine
        except dont_retry:
            raise
        except autoretry_for as exc:
            retry(exc)

    def retry(exc: BaseException) -> NoReturn:
        retry_options = dict(retry_kwargs)
        if backoff:
            retry_options["countdown"] = get_exponential_backoff_interval(
                factor=max(1, backoff),
                retries=task.request.retries,
                maximum=backoff_max,
                full_jitter=jitter,
            )
        # An override of max_retries on the task instance wins over the call's.
        if hasattr(task, "override_max_retries"):
            retry_options["max_retries"] = getattr(task, "override_max_retries", task.max_retries)
        ret = task.retry(exc=exc, **retry_options)
        # Stop propagation of the original: a retry in eager mode returns its exception.
        if hasattr(task, "override_max_retries"):
            delattr(task, "override_max_retries")
        raise ret from exc

    task._orig_run, task.run = task.run, run_coroutine if iscoroutinefunction(task.run) else run
